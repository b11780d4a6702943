# v2v with JAX for NVIDIA GPUs (driver 525 or newer, and the NVIDIA container toolkit). In the folder of a clone:
#   docker build -t v2v:gpu -f tools/deploy/gpu.Dockerfile .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/data" -v "$HOME/.cache:/cache" v2v:gpu edit in.mp4 "make it night" -o night.mp4
# The wheels of JAX bring CUDA themselves, so that the base needs none. --build-arg CUDA=cuda13 for CUDA 13.
FROM python:3.12-slim-bookworm

ARG CUDA=cuda12
ARG EXTRAS=train
WORKDIR /src
COPY . .
# setup.py says which versions fit.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "jax[${CUDA}]" ".[${EXTRAS}]" \
    && v2v --version \
    && rm -rf /src

# Compiled programs and models that were fetched outlive the container in a volume.
ENV V2V_CACHE=/cache/v2v HF_HOME=/cache/huggingface
VOLUME /cache
WORKDIR /data
ENTRYPOINT ["v2v"]
CMD ["--help"]
