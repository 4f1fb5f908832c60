# docker build -t inpaint-webui .
# --build-arg TORCH_INDEX=... names another package index for torch, such as PyTorch's of CPU builds, which are smaller, or
# of a CUDA version. The default index has the build with CUDA, which runs on a CPU too.
# Models and outputs are volumes; a password comes from the environment (see compose.yaml).
FROM python:3.12-slim

ARG TORCH_INDEX=
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

COPY requirements.txt .
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)" \
    && pip install -r requirements.txt

COPY . .
RUN useradd --create-home --uid 1000 user && mkdir -p /data/models /data/outputs && chown -R user /data
USER user
VOLUME ["/data/models", "/data/outputs"]
EXPOSE 7860
STOPSIGNAL SIGTERM
# Without a password the page would be open to the network: it is not started then.
CMD ["sh", "-c", "exec python app.py --listen --data-dir /data --api-auth \"${INPAINT_AUTH:?set INPAINT_AUTH to user:password}\" ${INPAINT_FLAGS:-}"]
