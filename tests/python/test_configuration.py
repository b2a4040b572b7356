"""Settings: a file, variables over it, flags over those; and what is refused."""

import pytest

from cluster import Node, address, tarn, wait_for

ROLES = ["dev", "coordinator", "storage-node", "compute-node"]


def check(file, text, role, **environment):
    file.write_text(text)
    return tarn("config", "check", file, "--role", role, environment=environment)


@pytest.mark.parametrize("role", ROLES)
def test_a_file_is_checked_for_its_role(tmp_path, role):
    file = tmp_path / "node.toml"
    common = "http = 'off'\nlog_format = 'json'\nlog = 'warn'\nshutdown_timeout_secs = 5\ndata = 'x'\n"
    own = {
        "dev": "flight = '127.0.0.1:1'\n[coordinator]\nroot_password = '1'\n[storage_node]\nsegment_bytes = 1000000\n",
        "coordinator": "node_id = 2\n[initial_voters]\n1 = 'a:1'\n2 = 'b:1'\n",
        "storage-node": "coordinators = ['a:1', 'b:1']\n", "compute-node": "coordinators = ['a:1']\ndrain_seconds = 1\n",
    }
    good = check(file, common + own[role], role)
    assert (good.returncode, good.stdout, good.stderr) == (0, f"{file}: ok\n", "")
    for text, words in [
        ("datta = 'x'\n", f"error: unknown key `datta` in {file}: did you mean `data`?"),
        ("otlp_endpont = 'x'\n", "did you mean `otlp_endpoint`?"), ("log_format = 'xml'\n", "`log_format`"),
        ("data = \n", "node.toml"), ("shutdown_timeout_secs = 'soon'\n", "`shutdown_timeout_secs`"),
    ]:
        bad = check(file, text, role)
        assert bad.returncode == 2 and words in bad.stderr and not bad.stdout, bad


def test_variables_are_checked_with_the_file(tmp_path):
    file = tmp_path / "node.toml"
    assert check(file, "", "coordinator", TARN_NODE_ID="3", TARN_INITIAL_VOTERS__3="a:1").returncode == 0
    unknown = check(file, "", "coordinator", TARN_NODEID="3")
    assert unknown.returncode == 2 and "`TARN_NODEID` in the environment: did you mean `node_id`?" in unknown.stderr, unknown
    wrong = check(file, "", "coordinator", TARN_NODE_ID="three")
    assert wrong.returncode == 2 and "TARN_NODE_ID" in wrong.stderr, wrong
    clients = check(file, "", "coordinator", TARN_URL="grpc://a:1", TARN_PASSWORD="x")
    assert clients.returncode == 0, clients


def test_a_server_refuses_what_the_check_refuses(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("listn = '127.0.0.1:1'\n")
    refused = tarn("compute-node", "--config", file)
    assert refused.returncode == 2 and "did you mean `listen`?" in refused.stderr, refused
    refused = tarn("dev", "--set", "coordinator.node_idd=1")
    assert refused.returncode == 2 and "`coordinator.node_idd` in the command line" in refused.stderr, refused
    assert "did you mean `node_id`?" in refused.stderr
    assert tarn("dev", "--nonsense").returncode == 2


def test_flags_go_over_variables_over_the_file(tmp_path):
    by_file, by_variable, by_flag = address(), address(), address()
    file = tmp_path / "node.toml"
    data = tmp_path / "data"
    file.write_text(f"http = '{by_file}'\nlisten = '{address()}'\ndata = '{data}'\nlog_format = 'json'\n")

    def serves_at(expected, flags, environment):
        node = Node(tmp_path, "node", ["compute-node", "--config", file, *flags], expected)
        node.environment = environment
        node.start()
        try:
            wait_for(f"HTTP at {expected}", node.ready, 20)
        finally:
            assert node.terminate() == 0, node.tail()
        # What the others do not say stays as in the file.
        assert node.tail(1).startswith("{")

    serves_at(by_file, [], {})
    serves_at(by_variable, [], {"TARN_HTTP": by_variable})
    serves_at(by_flag, ["--http", by_flag], {"TARN_HTTP": by_variable})
    serves_at(by_flag, ["--set", f"http={by_flag}"], {"TARN_HTTP": by_variable})
