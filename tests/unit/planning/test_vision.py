"""Models that see: what their tower weighs and works with, held against vLLM's logs."""

import pytest

from deployctl.planning.shape import shape_of

SEEING = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "spatial_merge_size": 2,
          "num_position_embeddings": 2304, "patch_size": 16, "temporal_patch_size": 2}  # fmt: skip


def test_an_embedding_width_is_the_towers_where_both_are_told(config, plan):
    # Qwen2-VL says the decoder's width as hidden_size: 15.53 GiB were logged for 7B in BF16.
    sizes = {"depth": 32, "mlp_ratio": 4, "spatial_merge_size": 2, "embed_dim": 1280}
    whole = config(
        "qwen2.5-7b", model_type="qwen2_vl", vision_config={**sizes, "hidden_size": 3584}
    )
    found = plan(whole, max_model_len=4096)
    assert found.memory.weights_gib == pytest.approx(15.53, rel=0.005)


def test_a_vision_tower_works_in_what_its_source_keeps(config, plan):
    # 2.03 GiB beside 19.24 of weights were logged for Qwen3.8 27B on an L4 by 0.28, for text 0.5.
    wish = {"engine_version": "0.28.0", "max_model_len": 4096, "enforce_eager": True}
    sizes = {"hidden_size": 5120, "vision_config": SEEING}
    whole = config("qwen2.5-7b", model_type="qwen3_5", **sizes)
    found = plan(whole, **wish, max_num_seqs=1).memory
    assert found.activation_gib == pytest.approx(1.9, abs=0.1)
    # Attention and MLP are cut, what lies between them is not: 1.22 were logged with four RTX 3090.
    cut = plan(whole, **wish, max_num_seqs=1, tensor_parallel_size=4, gpu="a100-80gb").memory
    assert 0.4 < cut.activation_gib / found.activation_gib < 0.65


@pytest.mark.parametrize("limit", [{"max_pixels": 262144}, '{"max_pixels": 262144}'])
def test_a_limit_of_pixels_is_what_the_tower_is_tried_with(config, plan, limit):
    # RTX 3090, 0.31: 41,642 tokens of cache for Qwen3.8 27B with it, as many as for text alone.
    wish = {"engine_version": "0.28.0", "max_model_len": 4096, "max_num_seqs": 1}
    sizes = {"hidden_size": 5120, "vision_config": SEEING}
    whole = config("qwen2.5-7b", model_type="qwen3_5", **sizes)
    free = plan(whole, **wish).memory.activation_gib
    limited = plan(whole, **wish, engine_args={"mm_processor_kwargs": limit}).memory.activation_gib
    nonsense = plan(whole, **wish, engine_args={"mm_processor_kwargs": {"max_pixels": "many"}})
    assert limited < free - 1
    assert nonsense.memory.activation_gib == free


PROCESSORS = [
    {"min_pixels": 200704, "max_pixels": 1003520},  # as transformers 4 writes it
    {"size": {"shortest_edge": 200704, "longest_edge": 1003520}},
    {"size": {"min_pixels": 200704, "max_pixels": 1003520}},
]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_largest_image_is_what_the_checkpoints_processor_takes(config, plan, processor):
    # A fine-tune of Qwen2-VL 7B, saved with 1,280 tokens an image: 4.28 GiB of cache on a 3090 by
    # 0.13, where 3.77 were planned with the 16,384 of Qwen's own processor.
    tower = {"depth": 32, "mlp_ratio": 4, "embed_dim": 1280, "spatial_merge_size": 2,
             "patch_size": 14, "temporal_patch_size": 2}  # fmt: skip
    whole = config("qwen2.5-7b", model_type="qwen2_vl", vision_config=tower)
    wish = {"engine_version": "0.13.0", "max_model_len": 4096, "gpu": "rtx3090"}

    def cache(image_processor, **arguments):
        made = plan(whole, image_processor=image_processor, engine_args=arguments, **wish)
        return made.memory.kv_cache_gib

    assert cache(processor) == pytest.approx(4.28, abs=0.15)
    assert cache(None) < cache(processor) - 0.35
    # What the user says is in its place, be it less or more.
    own = {"mm_processor_kwargs": {"max_pixels": 16384 * 28 * 28}}
    assert cache(processor, **own) == cache(None)
    assert cache({"size": {"longest_edge": "large"}}) == cache({"size": [1]}) == cache(None)
    assert cache({"max_pixels": 2**40}) < 0  # as many tokens as anybody would believe


def test_a_processor_says_nothing_of_towers_whose_images_have_one_size(config, facts):
    tower = {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_hidden_layers": 27}
    seeing = facts(
        config("qwen2.5-7b", model_type="gemma3", vision_config=tower),
        image_processor={"size": {"longest_edge": 896}},
    )
    assert seeing.architecture.image_pixels == 896
    assert shape_of(seeing.architecture).vision.item_tokens == 0
    blind = facts(config("qwen2.5-7b"), image_processor={"max_pixels": 5})
    assert blind.architecture.image_pixels == 0


def test_a_tower_that_takes_no_video_is_tried_with_none(config, plan):
    # Gemma 3 without images had 4.63 GiB, with one 0.77: a video of Qwen3-VL's was counted.
    tower = {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_hidden_layers": 27}
    whole = config("qwen2.5-7b", model_type="gemma3", vision_config=tower)

    def peak(**limits):
        limited = {"limit_mm_per_prompt": limits}
        return plan(whole, max_model_len=4096, engine_args=limited).memory.activation_gib

    assert peak(image=0) <= peak(image=1) == peak()


def test_a_video_of_deep_outputs_is_kept_with_its_time_stamps_in_two_releases(config, plan):
    # 153,600 tokens of four times the width, and beside them the 12,288 that the encoder gave: 2.53
    # GiB for Qwen3-VL 30B, where an image has 0.25. Four RTX 3090 had 2.31 GiB of cache in 0.11.
    deep = {**SEEING, "deepstack_visual_indexes": [8, 16, 24]}
    sizes = {"hidden_size": 2048, "vision_config": deep}
    whole = config("qwen2.5-7b", model_type="qwen3_vl", **sizes)
    peaks = [
        plan(whole, engine_version=release, max_model_len=4096).memory.activation_gib
        for release in ("0.12.0", "0.13.0")
    ]
    pixels = (65536 - 49152) * 1536 * 2
    kept = (153600 + 12288 - 16384) * 4 * 2048 * 2 - pixels
    assert peaks[0] - peaks[1] == pytest.approx(kept / 2**30, abs=0.001)


def test_positions_of_videos_run_ahead_of_their_tokens(config, plan):
    sections = {"rope_type": "default", "mrope_section": [16, 24, 24]}
    plain, seeing = (
        plan(config("qwen2.5-7b", rope_scaling=rope), max_model_len=4096).memory.weights_gib
        for rope in (None, sections)
    )
    assert seeing - plain == pytest.approx(3 * 32768 * 128 * 2 / 2**30, abs=1e-3)


def test_a_video_has_as_many_frames_as_the_context_allows(config, plan):
    # -14.28 GiB of KV cache were logged for Qwen2.5-VL 7B at 0.22 of an A100 with its own 128,000
    # tokens: the encoder was tried with a video of 114,688.
    tower = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "patch_size": 14,
             "spatial_merge_size": 2, "temporal_patch_size": 2}  # fmt: skip
    whole = config("qwen2.5-7b", model_type="qwen2_5_vl", vision_config=tower,
                   max_position_embeddings=128000)  # fmt: skip

    def peak(length, **arguments):
        wish = {"engine_version": "0.23.0", "max_model_len": length, "gpu": "a100-80gb"}
        return plan(whole, **wish, engine_args=arguments).memory.activation_gib

    assert peak(128000) == pytest.approx(15, abs=2.5)
    assert peak(128000) == pytest.approx(7 * peak(16384), rel=0.05)
    assert peak(40000) == pytest.approx(2 * peak(16384), rel=0.05)
    for none in (0, {"count": 0, "num_frames": 32}):
        assert peak(128000, limit_mm_per_prompt={"video": none}) == peak(16384)

    def video(**size):
        return peak(128000, limit_mm_per_prompt={"video": size})

    # vLLM tries it with a smaller one where it is told to, never with a larger one.
    assert video(num_frames=32, width=10**6) == peak(128000)
    assert video(num_frames=4) == pytest.approx(2 * peak(16384), rel=0.05)
    assert video(num_frames=3) == video(num_frames=4)
    assert video(width=1792) == pytest.approx(peak(128000) / 2, rel=0.05)
    assert video(num_frames=2, width=1792) == pytest.approx(peak(16384) / 2, rel=0.05)
    for nonsense in (-1, "many", True, None):
        assert video(num_frames=nonsense) == peak(128000)


@pytest.mark.parametrize("release", ["0.12.0", "0.32.0"])
def test_the_image_that_a_tower_is_tried_with_may_be_told(config, plan, release):
    deep = {**SEEING, "deepstack_visual_indexes": [8, 16, 24]}
    whole = config("qwen2.5-7b", model_type="qwen3_vl", vision_config=deep)

    def peak(**limits):
        wish = {"engine_version": release, "max_model_len": 4096, "max_num_seqs": 1}
        arguments = {"limit_mm_per_prompt": limits}
        return plan(whole, **wish, engine_args=arguments).memory.activation_gib

    small = {"count": 4, "width": 512, "height": 512}
    assert peak(image=small, video=0) < peak(video=0) - 0.5
    assert peak(image=0, video=small) < peak(image=0)
    assert peak(video=0) < peak() or release == "0.32.0"  # its video took most


def test_a_tower_without_patches_divides_by_nothing(config, plan):
    whole = config("qwen2.5-7b", model_type="qwen2_vl", vision_config={**SEEING, "patch_size": 0})
    given = {
        "mm_processor_kwargs": {"max_pixels": 5},
        "limit_mm_per_prompt": {"video": {"width": 1}},
    }
    assert plan(whole, max_model_len=4096, engine_args=given).memory.activation_gib > 0


HEARING = {"model_type": "gemma4_audio", "hidden_size": 1024, "num_hidden_layers": 12,
           "output_proj_dims": 1536}  # fmt: skip
PLACED = {"model_type": "gemma4_vision", "hidden_size": 768, "intermediate_size": 3072,
          "num_hidden_layers": 16, "position_embedding_size": 10240}  # fmt: skip


def test_what_each_layer_has_of_every_token_is_loaded_once_and_worked_with_once(config, plan):
    # Gemma 4 E4B on an RTX 3090 Ti, 0.22.1: 15.18 GiB of weights were logged, 15.11 without. On an
    # L4 by 0.28 0.27 GiB of activation, of which 0.21 without.
    def memory(tokens=4096, width=256, **parts):
        wish = {"engine_version": "0.28.0", "max_model_len": 8192, "max_num_batched_tokens": tokens}
        whole = config("qwen2.5-7b", hidden_size_per_layer_input=width, **parts)
        return plan(whole, **wish, max_num_seqs=1, enforce_eager=True).memory

    each = 4096 * 28 * 256 * 2 / 2**30
    few, many = (memory(tokens=n, vision_config=PLACED) for n in (4096, 8192))
    assert many.weights_gib - few.weights_gib == pytest.approx(each, abs=1e-3)
    # A model that reads alone has them within what is compiled.
    assert memory(tokens=8192).weights_gib == memory(tokens=4096).weights_gib
    assert memory().activation_gib - memory(width=0).activation_gib == pytest.approx(each, abs=1e-3)


def test_the_decoder_takes_up_what_the_towers_lower_layers_saw(config, plan):
    # Qwen3-VL 30B with 8,192 tokens: 58.2299 GiB of weights were logged, 58.12 without.
    def weights(tokens, **more):
        deep = {**SEEING, "deepstack_visual_indexes": [8, 16, 24]}
        whole = config("qwen2.5-7b", model_type="qwen3_vl", vision_config=deep)
        wish = {"engine_version": "0.28.0", "max_model_len": 8192, **more}
        return plan(whole, **wish, max_num_batched_tokens=tokens).memory.weights_gib

    each = 4096 * 3 * 3584 * 2 / 2**30
    assert weights(8192) - weights(4096) == pytest.approx(each, abs=1e-3)
    alone = {"engine_args": {"language_model_only": True}}
    assert weights(8192, **alone) == weights(4096, **alone)


def test_an_audio_tower_weighs_what_its_blocks_do_unless_nothing_is_heard(config, plan):
    # Gemma 4 E4B: 9.81 GiB of weights were logged, 0.58 of them for what is heard.
    wish = {"engine_version": "0.28.0", "max_model_len": 4096}
    heard = plan(config("qwen2.5-7b", audio_config=HEARING), **wish).memory.weights_gib
    mute = plan(config("qwen2.5-7b"), **wish).memory.weights_gib
    assert heard - mute == pytest.approx(0.58, abs=0.005)
    deaf = {"limit_mm_per_prompt": {"audio": 0}}
    for given in (deaf, {"language_model_only": True}):
        whole = config("qwen2.5-7b", audio_config=HEARING)
        assert plan(whole, **wish, engine_args=given).memory.weights_gib == mute
    # Before 0.15 every tower is loaded.
    old = plan(whole, **{**wish, "engine_version": "0.14.0"}, engine_args=deaf)
    assert old.memory.weights_gib > mute + 0.5


@pytest.mark.parametrize("tower", [{"model_type": "whisper"}, {**HEARING, "hidden_size": "wide"}])
def test_an_audio_tower_that_cannot_be_told_is_none(config, plan, tower):
    told = plan(config("qwen2.5-7b", audio_config=tower), max_model_len=4096).memory
    none = plan(config("qwen2.5-7b"), max_model_len=4096).memory
    assert told.weights_gib == pytest.approx(none.weights_gib, abs=0.01)


def test_the_tower_of_gemma_4_has_gates_and_two_tables_of_positions(config, plan):
    # 0.07 and 0.03 GiB of E4B's, whose weights come out as logged with them.
    def weights(**tower):
        whole = config("qwen2.5-7b", model_type="gemma4", vision_config={**PLACED, **tower})
        return plan(whole, max_model_len=4096).memory.weights_gib

    assert weights() - weights(model_type="other") == pytest.approx(0.07, abs=0.005)
    assert weights() - weights(position_embedding_size=0) == pytest.approx(0.03, abs=0.005)


@pytest.mark.parametrize(("card", "more"), [("a10", 0.09), ("l4", 0.0)])
def test_a_card_without_fp8_keeps_the_scales_of_blocks_for_every_row(config, plan, card, more):
    # Qwen3 14B in FP8 on an A10G: 16.07 GiB with a slot of rank 64 were logged, 15.85 without.
    how = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    blocks = plan(config("qwen2.5-7b", quantization_config=how), gpu=card).memory.weights_gib
    del how["weight_block_size"]
    whole = plan(config("qwen2.5-7b", quantization_config=how), gpu=card).memory.weights_gib
    assert blocks - whole == pytest.approx(more, abs=0.01)


def test_layers_that_share_a_cache_kept_projections_for_it_before_0_30(config, plan):
    # Gemma 4 E4B in BF16 by 0.22.1: 15.18 GiB were logged, 0.1 of them for these.
    whole = config("qwen2.5-7b", model_type="gemma4", num_kv_shared_layers=10)
    old, new = (
        plan(whole, engine_version=release, max_model_len=4096).memory.weights_gib
        for release in ("0.29.0", "0.30.0")
    )
    assert old - new == pytest.approx(10 * 2 * 4 * 128 * 3584 * 2 / 2**30, abs=0.02)
