"""Collectives of a compiled text: loops, groups in both notations, one collective in several fusions, nested calls."""

import pytest

from v2v.planning import traffic

HLO = """\
HloModule jit_step, entry_computation_layout={()->f32[]}

%body.1 (p: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %ag = bf16[64,16]{1,0:T(8,128)} all-gather(%x), channel_id=1, replica_groups=[1,8]<=[8], dimensions={0}
  %f = bf16[64,16]{1,0} fusion(%ag), kind=kCustom, calls=%piece.2
  ROOT %t = (s32[], bf16[8,16]) tuple(%i, %y)
}

%piece.2 (p: bf16[64,16]) -> bf16[64,16] {
  %ag2 = bf16[64,16]{1,0:T(8,128)} all-gather(%x), channel_id=1, replica_groups=[1,8]<=[8], dimensions={0}
  ROOT %n = bf16[64,16] negate(%ag2)
}

%cond.3 (p: (s32[], bf16[8,16])) -> pred[] {
  ROOT %c = pred[] compare(%i, %n), direction=LT
}

ENTRY %main.4 (a: f32[4]) -> f32[] {
  %w = (s32[], bf16[8,16]) while(%init), condition=%cond.3, body=%body.1, backend_config={"known_trip_count":{"n":"30"}}
  %ar = f32[100]{0} all-reduce(%g), channel_id=2, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %aa = f32[8,10]{1,0} all-to-all(%g), channel_id=3, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}
  %rs = f32[10]{0} reduce-scatter(%g), channel_id=4, replica_groups=[4,2]<=[8], dimensions={0}, to_apply=%add
  ROOT %r = f32[] constant(0)
}
"""


def test_bytes_a_chip_sends():
    sent_bytes = traffic.count_sent_bytes(HLO)
    assert sent_bytes.pop("all-gather") == 30 * 64 * 16 * 2 * 7 / 8
    assert sent_bytes.pop("all-reduce") == 2 * 100 * 4 * 3 / 4
    assert sent_bytes.pop("all-to-all") == 8 * 10 * 4 * 3 / 4
    assert sent_bytes.pop("reduce-scatter") == 10 * 4 * 1
    assert not sent_bytes


def test_collectives_of_one_channel_are_told_apart():
    """`shard_map` gives all its collectives the same channel; clones in fusions are pieces of one."""
    line = "  {} = bf16[8,16] {}(%x), channel_id=1, replica_groups=[1,8]<=[8]"
    text = "\n".join(
        [
            "%body (p: s32[]) -> s32[] {",
            *(line.format(f"%a.{i}", "all-to-all") for i in range(4)),
            line.format("%r", "all-reduce"),
            "  %f = bf16[8,16] fusion(%x), kind=kCustom, calls=%fused.1",
            "  %g = bf16[8,16] fusion(%x), kind=kCustom, calls=%fused.2",
            "}",
            "%fused.1 (p: s32[]) -> s32[] {",
            line.format("%ag.7", "all-gather"),
            "}",
            "%fused.2 (p: s32[]) -> s32[] {",
            line.format("%ag.7.clone.1", "all-gather"),
            line.format("%ag.8.clone", "all-gather"),
            "}",
            "ENTRY %main (a: s32[]) -> s32[] {",
            '  %w = s32[] while(%a), body=%body, backend_config={"known_trip_count":{"n":"30"}}',
            "}",
        ]
    )
    part = 30 * 8 * 16 * 2 * 7 / 8
    assert traffic.count_sent_bytes(text) == {
        "all-to-all": 4 * part,
        "all-reduce": 2 * part,
        "all-gather": 2 * part,
    }


@pytest.mark.parametrize("start, end, step, trips", [(0, 12, 1, 12), (1, 12, 1, 11), (0, 30, 2, 15)])
def test_a_loop_without_a_noted_count_is_counted_by_its_counter(start, end, step, trips):
    text = f"""\
%cond (p: (s32[], f32[8])) -> pred[] {{
  %n = s32[]{{:T(128)}} constant({end})
  %i = s32[]{{:T(128)}} get-tuple-element(%p), index=0
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {{
  %by = s32[]{{:T(128)}} constant({step})
  %j = s32[]{{:T(128)}} get-tuple-element(%p), index=0
  %next = s32[]{{:T(128)}} add(%j, %by)
  %g = f32[8]{{0}} all-gather(%x), channel_id=1, replica_groups=[1,2]<=[2], dimensions={{0}}
  ROOT %out = (s32[], f32[8]) tuple(%next, %g)
}}

ENTRY %main (a: f32[8]) -> f32[8] {{
  %zero = s32[]{{:T(128)}} constant({start})
  %copied = s32[]{{:T(128)}} copy(%zero)
  %init = (s32[], f32[8]) tuple(%copied, %a)
  %w = (s32[], f32[8]) while(%init), condition=%cond, body=%body
}}
"""
    assert traffic.count_sent_bytes(text) == {"all-gather": trips * 8 * 4 / 2}


def test_started_collectives_hold_operand_and_result():
    line = "  %s = (bf16[2,4], bf16[16,4]) all-gather-start(%x), channel_id=9, replica_groups=[1,8]<=[8]"
    text = "ENTRY %main (a: f32[4]) -> f32[] {\n" + line + "\n}\n"
    assert traffic.count_sent_bytes(text) == {"all-gather": pytest.approx(16 * 4 * 2 * 7 / 8)}


def test_collectives_between_slices_and_within_loops():
    """Both forms of groups: two slices of four chips."""
    hlo = """
%body (p: f32[4]) -> f32[4] {
  %p = f32[4] parameter(0)
  ROOT %r = f32[4] all-reduce(f32[4] %p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4] parameter(0)
  %w = f32[4] while(%x), condition=%cond, body=%body
  %a = f32[4] all-reduce(f32[4] %w), replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%add
  %send = (f32[4], u32[], token[]) send(%a, %t), channel_id=3, frontend_attributes={_xla_megascale_transfer_type="REDUCE_SCATTER"}
  ROOT %b = f32[4] all-gather(f32[4] %a), replica_groups=[2,4]<=[8], dimensions={0}
}
"""
    assert traffic.find_crossings(hlo, 4) == [("main", "all-reduce"), ("main", "reduce-scatter")]
    assert traffic.find_loop_computations(hlo) == {"body"}
