"""Small networks that come with the program, as their authors published them; NOTICE says whose they are."""

from pathlib import Path

FOLDER = Path(__file__).parent
CENTERFACE = FOLDER / "centerface.onnx"
PALMS = FOLDER / "palm_detection_full.tflite"
HANDS = FOLDER / "hand_landmark_lite.tflite"
SUBJECTS = FOLDER / "selfie_segmentation.tflite"
