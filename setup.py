"""The distribution `v2v-edit`: the packages v2v and data_synth, the experiments as v2v.experiments, and the command `v2v`.

`pip install .` installs what `v2v edit` needs; the extras hold the rest. Versions are bounds known to work, not pins.
"""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    # `v2v completion`.
    "argcomplete>=3.1",
    # 19 takes other arguments.
    "av>=18,<19",
    "flax>=0.12",
    "ftfy>=6.2",
    # Models by name. It is there anyway: tokenizers needs it.
    # Later ones begin interrupted downloads anew.
    "huggingface_hub>=1.1,<1.17",
    "jax>=0.10",
    "jaxtyping>=0.3",
    "ml_dtypes>=0.5",
    "numpy>=2",
    "pyyaml>=6",
    "opencv-python-headless>=4.12",
    "safetensors>=0.5",
    "tokenizers>=0.21",
    "tqdm>=4.66",
]
# `v2v synth`: TFDS writes array_record files without TensorFlow.
SYNTH = [
    "array_record>=0.8",
    "etils[epath]>=1.9",
    # tensorflow-datasets imports it without asking for it.
    "importlib_resources>=6",
    "tensorflow-datasets>=4.9.9",
]
# `v2v train`: grain reads the sets, tyro reads the fields of an experiment.
TRAIN = [*SYNTH, "grain>=0.2.12", "optax>=0.2.5", "orbax-checkpoint>=0.12,<0.13", "tyro>=1.0"]
# `v2v plan` compiles for TPUs without having one.
PLAN = [*TRAIN, "libtpu"]
# Rooms with physics. They also need OpenGL without a screen: libegl1 libegl-mesa0 libgl1-mesa-dri.
SCENES = [*SYNTH, "mujoco>=4"]
# Cuts in captioned videos; scenedetect 0.7 brings a second OpenCV over the headless one.
CAPTIONS = [*SYNTH, "scenedetect>=0.6.4,<0.7"]
# Reference pictures of RefVIE.
PARQUET = [*SYNTH, "pyarrow>=15"]
# `v2v synth --beam`: many machines.
BEAM = [*SYNTH, "apache-beam>=2.60"]
# `--mask person`: runs the networks that find people.
SUBJECT = ["ai-edge-litert>=2"]
# `--mask text`: reads text; 3.10 is the first whose wheel brings the networks' files used here.
TEXT = ["onnxruntime>=1.20", "rapidocr>=3.10"]
# VMAF: an FFmpeg with libvmaf.
VMAF = ["imageio-ffmpeg>=0.6"]
# `v2v serve`, `v2v app`: edits over HTTP, and in a browser.
SERVE = ["fastapi>=0.115", "python-multipart>=0.0.18", "sqlalchemy>=2", "uvicorn>=0.30"]
# A store of `v2v serve` that machines share.
POSTGRES = [*SERVE, "psycopg[binary]>=3.2"]
# Speech, where neither the browser nor a service writes it down.
SPEECH = ["pocketsphinx>=5"]
# Masks drawn by hand in a notebook.
NOTEBOOK = ["anywidget>=0.9"]
# Work folders on gs://.
GCS = ["gcsfs>=2024.6"]
TENSORBOARD = ["tensorboardX>=2.6"]
WANDB = ["wandb>=0.18"]
TEST = [*TRAIN, *SERVE, "pytest>=8", "pytest-xdist>=3.7"]
# Tests of the report's pages, with Debian's chromium.
BROWSER = [*TEST, "playwright>=1.50"]
# The published implementations, which tests/parity compares with.
PARITY = [
    *TEST,
    "diffusers>=0.37",
    "gguf>=0.17",
    "peft>=0.17",
    # transformers reads vocabularies of sentencepiece with it.
    "protobuf>=7",
    "sentencepiece>=0.2",
    "torch>=2.6",
    "transformers>=4.57",
]
DEV = [
    *TEST,
    "beartype>=0.19",
    "ipykernel>=6",
    "nbclient>=0.10",
    "pdoc>=15",
    "pre-commit>=4",
    "pyright>=1.1.400",
    "ruff>=0.17.6",
]

README = Path(__file__).parent / "README.md"

setup(
    name="v2v-edit",
    version="0.1.0",
    description="Instruction-based video editing in JAX: a pair engine, LoRA training of a video DiT, a jitted editing sampler",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["v2v", "v2v.*", "data_synth", "data_synth.*"]), "v2v.experiments"],
    package_dir={"v2v.experiments": "experiments"},
    package_data={
        "v2v": ["py.typed", "*.pyi"],
        "v2v.app": ["*.js", "page/*"],
        "v2v.assets": ["*", "embedded/*"],
        "v2v.experiments": ["embedded_film_vae/*"],
        "v2v.language": ["tables/*"],
        "v2v.evaluation": ["page/*"],
        "v2v.evaluation.sweep": ["published/*"],
        "data_synth.v2v_pairs": ["*.bib", "*.md"],
        "data_synth.experts.examples": ["*.toml"],
        "data_synth.experts.standins": ["*.toml"],
    },
    install_requires=CORE,
    extras_require={
        "synth": SYNTH,
        "train": TRAIN,
        "plan": PLAN,
        "scenes": SCENES,
        "captions": CAPTIONS,
        "parquet": PARQUET,
        "beam": BEAM,
        "subject": SUBJECT,
        "text": TEXT,
        "vmaf": VMAF,
        "app": SERVE,
        "serve": SERVE,
        "postgres": POSTGRES,
        "speech": SPEECH,
        "notebook": NOTEBOOK,
        "gcs": GCS,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "test": TEST,
        "browser": BROWSER,
        "parity": PARITY,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["v2v=v2v.cli.main:main"]},
)
