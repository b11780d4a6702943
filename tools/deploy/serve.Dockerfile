# v2v serve: edits over HTTP. In the folder of a clone:
#   docker build -t v2v:serve -f tools/deploy/serve.Dockerfile .
#   docker run --rm -p 127.0.0.1:8080:8080 -v v2v-jobs:/jobs -v v2v-cache:/cache -v "$PWD/tokens.txt:/run/secrets/tokens:ro" v2v:serve
# For an NVIDIA GPU: --build-arg JAX="jax[cuda12]" when it is built, --gpus all when it runs. For a TPU VM: --build-arg JAX="jax[tpu]", and
# --privileged --net host. Several machines: serve.compose.yaml. What the server is told otherwise: v2v serve --help.
FROM python:3.12-slim-bookworm

ARG JAX=jax
ARG EXTRAS=serve,postgres,subject,text
WORKDIR /src
COPY . .
# setup.py says which versions fit.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "${JAX}" ".[${EXTRAS}]" \
    && v2v --version \
    && rm -rf /src \
    && useradd --uid 10001 --create-home v2v \
    && install -d -o v2v -g v2v /jobs /cache

# Compiled programs and models that were fetched outlive the container in a volume, and so do the jobs.
ENV V2V_CACHE=/cache/v2v HF_HOME=/cache/huggingface
VOLUME ["/jobs", "/cache"]
# v2v by its number, by which Kubernetes sees that it isn't root.
USER 10001
WORKDIR /jobs
EXPOSE 8080
# Loading a large model takes minutes; requests are answered after that. A container of --role worker answers none: --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=10s --start-period=600s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=8)"]
ENTRYPOINT ["v2v"]
CMD ["serve", "--files", "/jobs", "--host", "0.0.0.0", "--tokens", "/run/secrets/tokens"]
