@echo off
rem Makes a virtual environment beside this file the first time, installs what is needed, and starts the server.
rem     start.bat [flags of app.py]
rem PYTHON names the interpreter (3.11 to 3.13), VENV the folder. TORCH_INDEX is the package index that torch comes
rem from: for an NVIDIA card name PyTorch's index of CUDA builds, since the default has only the CPU build for Windows.
setlocal
cd /d "%~dp0"
if not defined PYTHON set PYTHON=python
if not defined VENV set VENV=.venv
if not exist "%VENV%\Scripts\python.exe" "%PYTHON%" -m venv "%VENV%" || exit /b 1
fc /b requirements.txt "%VENV%\installed.txt" >nul 2>&1 && goto run
if defined TORCH_INDEX "%VENV%\Scripts\python.exe" -m pip install --disable-pip-version-check --index-url "%TORCH_INDEX%" torch==2.13.0 || exit /b 1
"%VENV%\Scripts\python.exe" -m pip install --disable-pip-version-check -r requirements.txt || exit /b 1
copy /y requirements.txt "%VENV%\installed.txt" >nul
:run
"%VENV%\Scripts\python.exe" app.py %*
