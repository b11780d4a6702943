"""`pip install .` - the package, its command `v2v`, and what comes along. Versions are bounds known to work, not pins."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "av>=14",
    "flax>=0.12",
    "ftfy>=6.2",
    "jax>=0.10",
    "jaxtyping>=0.3",
    "ml_dtypes>=0.5",
    "numpy>=2",
    "opencv-python-headless>=4.12",
    "optax>=0.2.5",
    "safetensors>=0.5",
    "tokenizers>=0.21",
    "tqdm>=4.66",
    "tyro>=1.0",
]
DATA = [  # what `v2v synth` and `v2v train` add: TFDS writes array_record without TensorFlow, grain reads it
    "array_record>=0.8",
    "etils[epath]>=1.9",  # checkpoints and logs on gs:// as on a local disk
    "grain>=0.2.12",
    "importlib_resources>=6",  # tensorflow-datasets imports it without asking for it
    "orbax-checkpoint>=0.12,<0.13",
    "tensorflow-datasets>=4.9.9",
]
CAPTIONS = [
    "scenedetect>=0.6.4,<0.7"
]  # cuts in captioned videos; 0.7 brings a second OpenCV over the headless one
PARQUET = ["pyarrow>=15"]  # RefVIE's reference pictures
SCENES = [
    "mujoco>=4"
]  # rooms with physics; besides, OpenGL without a screen: libegl1 libegl-mesa0 libgl1-mesa-dri
BEAM = ["apache-beam>=2.60"]  # `v2v synth --beam`: many machines
PARITY = [  # the published implementations, which tests/parity compares with
    "diffusers>=0.37",
    "peft>=0.17",
    "sentencepiece>=0.2",
    "torch>=2.6",
    "transformers>=4.57",
]
PLAN = ["libtpu"]  # `v2v plan` compiles for TPUs without having one
TENSORBOARD = ["tensorboardX>=2.6"]
WANDB = ["wandb>=0.18"]
GCS = ["gcsfs>=2024.6"]  # --workdir gs://…
TEST = ["pytest>=8", "pytest-xdist>=3.7"]
BROWSER = ["playwright>=1.50"]  # tests of the report's pages, with Debian's chromium
DEV = [*TEST, "ruff>=0.12"]

setup(
    name="v2v",
    version="0.1.0",
    description="Instruction-based video editing in JAX: a pair engine, LoRA training of a video DiT, a jitted editing sampler",
    long_description=Path("README.md").read_text() if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["v2v", "v2v.*", "data_synth", "data_synth.*"]),
    package_data={
        "v2v": ["assets/*", "evaluation/page/*", "evaluation/published/*", "weights/embedded/*"],
        "data_synth.v2v_pairs": ["*.bib", "*.md"],
        "data_synth.experts.examples": ["*.toml"],
        "data_synth.experts.standins": ["*.toml"],
    },
    install_requires=[*CORE, *DATA],
    extras_require={
        "captions": CAPTIONS,
        "parquet": PARQUET,
        "scenes": SCENES,
        "beam": BEAM,
        "plan": PLAN,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "gcs": GCS,
        "browser": [*TEST, *BROWSER],
        "test": TEST,
        "parity": [*TEST, *PARITY],
        "dev": DEV,
    },
    entry_points={"console_scripts": ["v2v=v2v.cli:main"]},
)
