from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config import ENVIRONMENT, FleetConfig, load_config
from quasim.errors import ConfigError, ExitCode, QuasimError
from quasim.kernels import statevector
from quasim.targets.spec import CSpec, ReplaySpec, TritonSpec
from quasim.trial import Problem

CONFIGS = Path(__file__).parents[2] / "configs"

GOOD = """
target: {kind: c, threads: 2}
problems: [{kernel: matmul, shape: "k=6,m=4,n=5"}]
"""


def load(
    tmp_path: Path,
    text: str,
    flags: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
) -> FleetConfig:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return load_config(path, environment or {}, flags or {})


def failure(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(QuasimError) as caught:
        load(tmp_path, text, environment=environment)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert str(tmp_path / "fleet.yaml") in str(caught.value)
    assert caught.value.do
    return str(caught.value)


def test_the_default_config_is_a_fleet_with_a_late_joiner() -> None:
    config = load_config(CONFIGS / "local.yaml", {}, {})
    assert (config.agents, config.late_agents, config.joins_at, config.cycles) == (4, 1, 5, 10)
    assert {p.kernel for p in config.tuned_problems()} == {"matmul", "softmax", "stencil2d"}


def test_shapes_are_put_in_the_order_of_the_kernel(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).tuned_problems() == (Problem.of("matmul", m=4, n=5, k=6),)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    text = GOOD + "seed: 7\ncycles: 3\nagents: 5\n"
    config = load(tmp_path, text, {"seed": 9, "cycles": None}, {"QUASIM_SEED": "8", "QUASIM_CYCLES": "4"})
    assert (config.seed, config.cycles, config.agents, config.evaluations) == (9, 4, 5, 3)


def test_every_variable_names_a_field() -> None:
    assert set(ENVIRONMENT.values()) <= set(FleetConfig.__struct_fields__)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("colour: red", "colour"),
        ("cycles: 0", "cycles=0"),
        ("cycles: many", "cycles"),
        ("agents: 1", "floor=2"),
        ("floor: 2", "floor"),
        ("aggregation: {floor: 0}", "floor=0"),
        ("aggregation: {canary: -1}", "canary=-1"),
        ("aggregation: {protocol: magic}", "protocol"),
        ("aggregation: {ring_bits: 16}", "ring_bits"),
        ("aggregation: {scale_bits: 31}", "scale_bits=31"),
        ("aggregation: {step_timeout_s: 0}", "step_timeout_s=0"),
        ("aggregation: {privacy: {epsilon: 0}}", "epsilon=0"),
        ("aggregation: {privacy: {epsilon: 1, delta: 1}}", "delta=1"),
        ("aggregation: {protocol: plain, privacy: {epsilon: 1}}", "privacy with protocol: plain"),
        ("late_cycle: 10", "late_cycle=10"),
        ("strategy: magic", "magic"),
        ("cycle_timeout_s: -1", "cycle_timeout_s=-1"),
        ("agents: null\naggregation: {privacy: {epsilon: 1}}", "agents: null with privacy"),
        ("gpus_per_agent: 2", "gpus_per_agent=2"),
        ("gpus_per_agent: 0", "gpus_per_agent=0"),
        ("labels: {zone: 3}", "labels"),
    ],
)
def test_bad_fields_are_named(tmp_path: Path, extra: str, says: str) -> None:
    assert says in failure(tmp_path, GOOD + extra)


@pytest.mark.parametrize(
    ("problems", "says"),
    [
        ("[{kernel: matmull, shape: 'm=1,n=1,k=1'}]", "matmul"),
        ("[{kernel: matmul, shape: 'm=1,n=1'}]", "k"),
        ("[{kernel: matmul, shape: 'm=0,n=1,k=1'}]", "m=0"),
        ("[{kernel: matmul, shape: '768 cubed'}]", "768 cubed"),
        ("[{kernel: matmul, shape: 'm=1,n=1,k=1', tile: 3}]", "tile"),
        ("[]", "no problems"),
        ("[{kernel: softmax, shape: 'rows=1,cols=1'}, {kernel: softmax, shape: 'rows=1,cols=1'}]", "twice"),
    ],
)
def test_bad_problems_are_named(tmp_path: Path, problems: str, says: str) -> None:
    assert says in failure(tmp_path, f"target: {{kind: c}}\nproblems: {problems}\n")


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_below_one_are_refused(tmp_path: Path, threads: int) -> None:
    assert f"threads={threads}" in failure(tmp_path, GOOD.replace("threads: 2", f"threads: {threads}"))


def test_the_gpu_config_is_one_agent_for_each_gpu() -> None:
    config = load_config(CONFIGS / "gpu.yaml", {}, {})
    assert config.target == TritonSpec()
    assert (config.agents, config.gpus_per_agent, config.aggregation.floor, config.cycles) == (None, 1.0, 1, 10)
    assert [p.kernel for p in config.tuned_problems()] == ["matmul_bf16", "softmax", "layernorm", "gate1"]
    assert config.tuned_problems()[3] == statevector.problem(qubits=26, targets=(3,))
    assert load_config(CONFIGS / "gpu.yaml", {"QUASIM_AGENTS": "2"}, {}).agents == 2


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("{kind: triton, arch: sm_1}", "no architecture 'sm_1'"),
        ("{kind: triton, device: -1}", "device=-1"),
        ("{kind: tpu}", "'tpu'"),
        ("{kind: c, speed: 9}", "`speed`"),
        ("3", "got `int`"),
        ("{kind: replay, recordings: []}", "needs recordings"),
    ],
)
def test_bad_targets_are_refused(tmp_path: Path, target: str, says: str) -> None:
    assert says in failure(tmp_path, f"target: {target}\n")


def test_a_fleet_leaves_the_choice_of_gpus_to_ray(tmp_path: Path) -> None:
    assert "device=1 in a fleet" in failure(
        tmp_path, GOOD.replace("{kind: c, threads: 2}", "{kind: triton, device: 1}")
    )


def test_a_bad_variable_is_an_error(tmp_path: Path) -> None:
    assert "cycles" in failure(tmp_path, GOOD, {"QUASIM_CYCLES": "soon"})


@pytest.mark.parametrize("text", ["- a list", "target: [", ""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    failure(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml", {}, {})


def test_recordings_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    config = load(tmp_path, "target: {kind: replay, recordings: [{path: spaces/a.json}]}")
    assert isinstance(config.target, ReplaySpec)
    assert config.target.recordings[0].path == str(tmp_path / "spaces" / "a.json")


def test_threads_may_be_left_to_the_machine(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD.replace("threads: 2", "threads: null")).target == CSpec(None)
