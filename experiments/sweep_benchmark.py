"""Editors compared on EditVerseBench by all available metrics, a judge, and another program's results.

V2V_BENCHMARK=EditVerseBench/ V2V_WEIGHTS=weights/ v2v eval experiments/sweep_benchmark.py --out runs/editverse

    V2V_BENCHMARK   EditVerseBench's folder, with the source videos fetched
    V2V_RESULTS     folder of another editor's results, ID/generate.mp4 (optional)
    V2V_WEIGHTS     folder with clip-vit-large-patch14, dinov2-base, PickScore_v1, viclip, lpips (those that are there are used)
    V2V_MODEL       folder of an editor's weights (default: the packaged model)
    V2V_JUDGE       an OpenAI-compatible server, such as http://localhost:8000/v1 (optional; its key in OPENAI_API_KEY)
    V2V_JUDGE_MODEL name of the model on that server

The plan with the number of judge calls is printed first; `--plan` stops there. `--export NAME=DIR` also writes the layout that the benchmark's own
scripts read, `--compat editverse` shows the judge the same frames as those scripts do.
"""

from pathlib import Path

from v2v.evaluation.benchmarks.published import read_editverse_bench
from v2v.evaluation.judge.endpoint import Endpoint, EndpointJudge
from v2v.evaluation.judge.judge_metric import JudgeMetric
from v2v.evaluation.judge.rubrics import EDITVERSE
from v2v.evaluation.metrics.builtin import FLICKER
from v2v.evaluation.metrics.learned import learned_metrics
from v2v.evaluation.sweep.methods import EditingMethod, Method, ResultFolder
from v2v.evaluation.sweep.sweep import Sweep
from v2v.runtime import environment


def sweep(folder: Path) -> Sweep:
    """Return the sweep; the environment says which methods and metrics it has."""
    methods: list[Method] = [EditingMethod("ours", model=environment.MODEL.get(), use_reference=True)]
    if results := environment.RESULTS.get():
        methods.append(ResultFolder("theirs", Path(results)))
    metrics = [FLICKER, *learned_metrics(Path(environment.WEIGHTS.get()))]
    if url := environment.JUDGE.get():
        judge = EndpointJudge(environment.JUDGE_MODEL.get(), Endpoint(url))
        metrics.append(JudgeMetric(judge, EDITVERSE))
    return Sweep(
        title="EditVerseBench",
        benchmark=read_editverse_bench(Path(environment.BENCHMARK.get())),
        methods=methods,
        metrics=metrics,
        published=("easyv2v_editversebench", "editverse_editversebench"),
    )
