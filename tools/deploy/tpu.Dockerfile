# v2v with JAX for Cloud TPUs, for GKE and TPU VMs. In the folder of a clone:
#   docker build -t REGION-docker.pkg.dev/PROJECT/REPOSITORY/v2v:tpu -f tools/deploy/tpu.Dockerfile .
#   docker run --rm --privileged --net host -v "$PWD:/data" IMAGE doctor          on a TPU VM; --privileged opens the chips' devices
FROM python:3.12-slim-bookworm

ARG EXTRAS=train,gcs
WORKDIR /src
COPY . .
# setup.py says which versions fit.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "jax[tpu]" ".[${EXTRAS}]" \
    && v2v --version \
    && rm -rf /src

ENV V2V_CACHE=/cache/v2v HF_HOME=/cache/huggingface
VOLUME /cache
WORKDIR /data
ENTRYPOINT ["v2v"]
CMD ["--help"]
