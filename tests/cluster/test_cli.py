"""The command line as a user meets it: outputs, errors and exit codes. In process, since each start of Python costs."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aggregation.signing import PolicySigner
from cluster.cli import main
from cluster.run_folder import RunFolder
from quasim.errors import ExitCode
from quasim.kernels import families
from quasim.targets.replay import ReplayTarget
from storage.keys import load_or_create_key
from tests.actors.test_node_agent import envelope
from tests.cluster.documents import check_document
from tests.quasim.gpu import REASON


def quasim(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    monkeypatch.setattr(sys, "argv", ["quasim", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


class Command:
    """Runs commands and keeps what they said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        return quasim(self._monkeypatch, self._capsys, *arguments)

    def json(self, *arguments: str) -> dict[str, object]:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        document: dict[str, object] = json.loads(out)
        check_document(arguments, document)
        return document

    def fails(self, code: ExitCode, *arguments: str) -> str:
        got, out, err = self(*arguments)
        assert got == code, err
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1, "an error is one line"
        return err


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_help_names_every_verb(command: Command) -> None:
    code, out, _ = command("--help")
    assert code == 0
    assert all(verb in out for verb in ("run", "tune", "report", "kernel", "evolve", "policy", "federation"))


def test_an_unknown_flag_is_a_usage_error(command: Command) -> None:
    assert command("run", "--colour")[0] == ExitCode.USAGE


def test_kernel_list_shows_every_family(command: Command) -> None:
    _, out, _ = command("kernel", "list", "--json")
    assert {row["name"] for row in json.loads(out)} == {family.name for family in families()}
    table = command("kernel", "list")[1]
    assert "softmax" in table
    assert "gelu_residual" in table


def test_kernel_list_names_the_forms_of_a_product_once(command: Command) -> None:
    table = command("kernel", "list")[1]
    assert "_bf16_nt" in table
    assert "matmul_bf16_nt" not in table


def test_kernel_show_gives_cost_and_space(command: Command) -> None:
    shown = command.json("kernel", "show", "matmul", "--shape", "m=4,n=5,k=6")
    assert shown["flops"] == 2 * 4 * 5 * 6
    assert shown["bytes"] == 4 * (4 * 6 + 6 * 5 + 4 * 5)


def test_kernel_show_prints_the_source_of_a_genome(command: Command) -> None:
    plain = command("kernel", "show", "matmul", "--shape", "m=4,n=5,k=6", "--source")[1]
    other = command("kernel", "show", "matmul", "--shape", "m=4,n=5,k=6", "--source", "--genome", "mr=6,nv=2")[1]
    assert "int quasim_run(" in plain
    assert plain != other


def test_kernel_show_prints_the_triton_source_and_the_compilers_facts(command: Command) -> None:
    asked = ("kernel", "show", "softmax", "--shape", "rows=8,cols=64", "--target", "triton")
    assert "tl.load(x_ptr" in command(*asked, "--source")[1]
    shown = command.json(*asked, "--resources", "--arch", "sm_80")
    registers, occupancy = shown["registers (compiler)"], shown["occupancy (derived)"]
    assert isinstance(registers, int)
    assert isinstance(occupancy, float)
    assert registers > 0
    assert 0 < occupancy <= 1


def test_the_c_target_has_no_compilers_facts(command: Command) -> None:
    code, _, err = command("kernel", "show", "softmax", "--shape", "rows=8,cols=64", "--resources")
    assert code != 0
    assert "--target triton" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("kernel", "show", "matmull", "--shape", "m=1"), "did you mean matmul"),
        (("kernel", "show", "matmul", "--shape", "m=1"), "k"),
        (("kernel", "show", "matmul", "--shape", "m=0,n=1,k=1"), "m=0"),
        (("kernel", "show", "matmul", "--shape", "m=1,n=1,k=1", "--genome", "mr=77"), "mr='77'"),
        (("kernel", "show", "matmul", "--shape", "m=1,n=1,k=1", "--genome", "magic=1"), "magic"),
        (("kernel", "show", "matmul_tf32", "--shape", "m=1,n=1,k=1"), "CPUs have no such products"),
        (("tune", "matmul"), "--shape"),
        (("tune", "matmul", "--shape", "m=1,n=1,k=1", "--target", "triton", "--threads", "2"), "--threads"),
        (("tune", "matmul", "--shape", "m=1,n=1,k=1", "--strategy", "magic"), "magic"),
        (
            ("tune", "matmul", "--shape", "m=1,n=1,k=1", "--target", "metal"),
            "give c, triton, cuda, or the path of a recording",
        ),
        (("evolve", "init", "--kernel", "nothing"), "nothing"),
        (("run", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_wrong_names_and_shapes_are_config_errors(command: Command, arguments: tuple[str, ...], says: str) -> None:
    assert says in command.fails(ExitCode.CONFIG, *arguments)


@pytest.mark.skipif(not REASON, reason="this machine has a GPU")
def test_a_gpu_fleet_on_a_machine_without_one_fails_before_anything_is_started(
    command: Command, tmp_path: Path
) -> None:
    config = Path(__file__).parents[2] / "configs" / "gpu.yaml"
    said = command.fails(ExitCode.MISSING_TOOL, "run", str(config), "--out", str(tmp_path / "run"))
    assert "NVIDIA" in said
    assert not (tmp_path / "run").exists()


def test_evolve_init_is_reproducible_and_written_to_a_file(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "population.json"
    one = command.json("evolve", "init", "--population-size", "20", "--seed", "42", "--out", str(out))
    assert one == command.json("evolve", "init", "--population-size", "20", "--seed", "42")
    assert one == json.loads(out.read_text())
    assert one != command.json("evolve", "init", "--seed", "43")
    genomes = one["genomes"]
    assert isinstance(genomes, list)
    assert len(genomes) == len({json.dumps(genome) for genome in genomes}) == 20


def test_tune_on_a_recording_finds_its_optimum_and_says_what_was_not_measured(
    command: Command, recorded_space: Path
) -> None:
    recording = ReplayTarget("replay", [(0, recorded_space)])
    assert recording.space(recording.problem).size == 240
    found = command.json("tune", "matmul", "--target", str(recorded_space), "--budget", "80")
    best = found["best"]
    assert isinstance(best, dict)
    assert found["evaluations"] == 80
    assert best["timing"]["median_ns"] <= 1.05 * recording.optimum_ns()
    assert best["energy_j"] is None
    assert best["energy_source"] == "unmetered"
    assert found["standing"] is None
    text = command("tune", "matmul", "--target", str(recorded_space), "--budget", "5")[1]
    assert "unmetered" in text


def test_tune_resumes_from_its_file(command: Command, recorded_space: Path, tmp_path: Path) -> None:
    first, out = tmp_path / "first.json", tmp_path / "second.json"
    recording = ("--target", str(recorded_space))
    command("tune", "matmul", *recording, "--budget", "16", "--out", str(first))
    again = command.json("tune", "matmul", *recording, "--budget", "24", "--resume", str(first), "--out", str(out))
    trials = again["trials"]
    assert isinstance(trials, list)
    assert trials[:16] == json.loads(first.read_text())["trials"]
    assert len({json.dumps(trial["genome"]) for trial in trials}) == 24


def test_a_resumed_budget_that_is_used_up_measures_nothing_new(
    command: Command, recorded_space: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.json"
    whole = command.json("tune", "matmul", "--target", str(recorded_space), "--budget", "16", "--out", str(first))
    for budget in ("16", "4"):
        resumed = ("--budget", budget, "--resume", str(first))
        assert command.json("tune", "matmul", "--target", str(recorded_space), *resumed) == whole


@pytest.mark.parametrize("changed", [{"target": "c"}, {"space": "0" * 64}])
def test_tune_resumes_only_the_same_target_and_space(
    command: Command, recorded_space: Path, tmp_path: Path, changed: dict[str, str]
) -> None:
    first = tmp_path / "first.json"
    recording = ("--target", str(recorded_space))
    command("tune", "matmul", *recording, "--budget", "8", "--out", str(first))
    first.write_text(json.dumps(json.loads(first.read_text()) | changed))
    assert "--resume" in command.fails(ExitCode.CONFIG, "tune", "matmul", *recording, "--resume", str(first))


def test_tune_resumes_no_other_device_and_no_other_version_of_what_it_runs_on(
    command: Command, recorded_space: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.json"
    recording = ("--target", str(recorded_space))
    command("tune", "matmul", *recording, "--budget", "8", "--out", str(first))
    report = json.loads(first.read_text())
    here = report["device"]
    for changed in ({"name": "NVIDIA H100"}, {"versions": [["cuda driver", "12.8"], ["triton", "3.5.1"]]}):
        first.write_text(json.dumps(report | {"device": here | changed}))
        said = command.fails(ExitCode.CONFIG, "tune", "matmul", *recording, "--resume", str(first))
        words = " ".join(said.split())
        assert here["name"] in words
        assert here["versions"][0][1] in words
        assert ("NVIDIA H100" in words) if "name" in changed else ("cuda driver 12.8, triton 3.5.1" in words)


@pytest.mark.parametrize("out", ["nowhere/report.json", "file/report.json", "."])
def test_where_the_report_cannot_be_written_nothing_is_measured(
    command: Command, recorded_space: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("")
    # A progress bar on stderr would tell that tuning began.
    said = command.fails(
        ExitCode.STORAGE, "tune", "matmul", "--target", str(recorded_space), "--out", str(tmp_path / out)
    )
    assert str(tmp_path / out) in said


def test_a_disk_that_fills_while_tuning_loses_no_result(command: Command, recorded_space: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        code, printed, said = command(
            "tune", "matmul", "--target", str(recorded_space), "--budget", "8", "--out", str(out), "--json"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == ExitCode.STORAGE
    assert str(out) in said
    assert json.loads(printed)["evaluations"] == 8
    assert not out.exists()


def test_ctrl_c_exits_as_interrupted(command: Command, recorded_space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayTarget, "evaluate", lambda *_: signal.raise_signal(signal.SIGINT))
    # Shells start what runs in their background with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, out, _ = command("tune", "matmul", "--target", str(recorded_space))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, out) == (ExitCode.INTERRUPTED, "")


def test_tune_refuses_a_recording_of_another_kernel(command: Command, recorded_space: Path) -> None:
    assert "matmul" in command.fails(ExitCode.CONFIG, "tune", "softmax", "--target", str(recorded_space))


def test_tune_measures_a_real_kernel_against_its_rivals(command: Command) -> None:
    found = command.json("tune", "softmax", "--shape", "rows=64,cols=256", "--budget", "4")
    standing = found["standing"]
    assert isinstance(standing, dict)
    assert standing["baseline"]["ratio"]["median"] > 0
    assert standing["library"]["ratio"]["median"] > 0
    assert standing["best"]["error_frobenius"] < 1e-6


def test_a_corrupt_recording_is_bad_data(command: Command, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json.gz"
    broken.write_bytes(b"\x1f\x8b nothing")
    assert "broken.json.gz" in command.fails(ExitCode.BAD_DATA, "tune", "matmul", "--target", str(broken))
    (tmp_path / "fleet.yaml").write_text("target: {kind: replay, recordings: [{path: broken.json.gz}]}")
    out = str(tmp_path / "run")
    assert "broken" in command.fails(ExitCode.BAD_DATA, "run", str(tmp_path / "fleet.yaml"), "--out", out)


def test_an_unwritable_folder_is_a_storage_error(command: Command, tmp_path: Path, recorded_space: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "fleet.yaml").write_text(f"target: {{kind: replay, recordings: [{{path: {recorded_space}}}]}}")
    out = str(tmp_path / "file" / "run")
    assert "file" in command.fails(ExitCode.STORAGE, "run", str(tmp_path / "fleet.yaml"), "--out", out)


def test_a_missing_compiler_names_what_to_install(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    said = command.fails(ExitCode.MISSING_TOOL, "tune", "matmul", "--shape", "m=4,n=4,k=4", "--budget", "1")
    assert "apt-get install gcc" in said


def test_resume_takes_no_other_settings(command: Command, tmp_path: Path) -> None:
    assert "--resume" in command.fails(ExitCode.CONFIG, "run", "--resume", str(tmp_path), "--seed", "1")


def test_a_folder_without_a_run_is_named(command: Command, tmp_path: Path) -> None:
    assert str(tmp_path) in command.fails(ExitCode.STORAGE, "report", str(tmp_path))
    assert str(tmp_path) in command.fails(ExitCode.STORAGE, "run", "--resume", str(tmp_path))


def test_an_unfinished_run_says_how_to_go_on(command: Command, tmp_path: Path, recorded_space: Path) -> None:
    from cluster.config import FleetConfig
    from quasim.targets.spec import Recording, ReplaySpec

    config = FleetConfig(target=ReplaySpec((Recording(str(recorded_space)),)))
    RunFolder.create(tmp_path / "run", config)
    assert "--resume" in command.fails(ExitCode.BAD_DATA, "report", str(tmp_path / "run"))


def test_policy_show_and_verify(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "policy"
    file.write_bytes(envelope(version=2))
    key = PolicySigner(bytes(32)).public_key.hex()
    assert command.json("policy", "show", str(file))["version"] == 2
    assert command.json("policy", "verify", str(file), "--key", key)["signed_by"] == key
    assert "policy 2" in command("policy", "show", str(file))[1]
    for wrong in (("--key", "00" * 32), ("--key", key, "--federation", "other"), ("--key", key, "--newer-than", "2")):
        command.fails(ExitCode.UNTRUSTED, "policy", "verify", str(file), *wrong)
    for malformed in ("zz" * 32, "ab", key + "00", ""):
        command.fails(ExitCode.CONFIG, "policy", "verify", str(file), "--key", malformed)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    command.fails(ExitCode.UNTRUSTED, "policy", "show", str(file))
    command.fails(ExitCode.STORAGE, "policy", "show", str(tmp_path / "nowhere"))


def test_policy_verify_trusts_the_sites_own_key_and_makes_none(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, file = tmp_path / "home", tmp_path / "policy"
    monkeypatch.setenv("QUASIM_HOME", str(home))
    file.write_bytes(envelope(version=2))
    assert "give --key" in command.fails(ExitCode.CONFIG, "policy", "verify", str(file))
    assert not home.exists()
    load_or_create_key(home / "signing.key")
    command.fails(ExitCode.UNTRUSTED, "policy", "verify", str(file))
    (home / "signing.key").write_bytes(bytes(32))
    assert command.json("policy", "verify", str(file))["version"] == 2


def test_the_engine_imports_neither_ray_nor_torch_nor_pyarrow() -> None:
    code = (
        "import quasim, quasim.tune, quasim.targets.spec, sys; print(*({'ray','torch','pyarrow'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_the_command_without_the_checkout_says_where_it_is_to_be_had(tmp_path: Path) -> None:
    code = "import sys; sys.modules['cluster'] = None; from quasim.__main__ import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == ExitCode.MISSING_TOOL
    assert "checkout" in ran.stderr
