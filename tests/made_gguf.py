"""A model of one layer in a .gguf of 0.3 MB that llama.cpp runs, and what a stranger may have changed in it."""

from pathlib import Path


def make_model(
    path: Path, template: str | None = None, layers: int = 1, tokens: int = 259, architecture="llama"
) -> None:
    """Write the file. It says that it has so many `layers`; only the first `tokens` of its vocabulary are there."""
    import gguf
    import numpy

    width = 64
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(width)
    writer.add_rope_dimension_count(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    if template is not None:
        writer.add_chat_template(template)
    kinds = gguf.TokenType
    vocabulary = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    vocabulary += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    vocabulary = vocabulary[:tokens]
    writer.add_tokenizer_model("llama")
    if vocabulary:
        writer.add_token_list([text for text, _ in vocabulary])
        writer.add_token_scores([0.0] * tokens)
        writer.add_token_types([kind for _, kind in vocabulary])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    generator = numpy.random.default_rng(0)
    shapes = {"token_embd": (max(tokens, 1), width), "output_norm": (width,), "output": (max(tokens, 1), width)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        shapes[f"blk.0.{name}"] = width, width
    shapes |= {"blk.0.attn_norm": (width,), "blk.0.ffn_norm": (width,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", generator.normal(0, 0.02, shape).astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
