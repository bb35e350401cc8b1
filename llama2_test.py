# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "llama-cpp-python>=0.3.36,<0.4",
#     "huggingface_hub>=1.0",
#     "gguf>=0.17",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
# ]
# ///
"""How many tokens a second does this machine generate with Llama 2?

  python llama2_test.py --num_questions=2 --num_times_per_question=1

Asks a language model 20 questions 5 times each, through llama.cpp, and appends
a row for each answer to a CSV in results/results_llama2/. Every answer is 500
tokens long, so that all of them are the same work. Any .gguf file that
llama.cpp runs will do; without one, Llama 2 7B chat is downloaded (3.8 GB).
"""

import codecs
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from speed_test import report
from speed_test.child import Child
from speed_test.clock import peak_memory_gb
from speed_test.command_line import BadInput, Parser, argument, check_folders, data_options, whole_number
from speed_test.data import DataUnavailable, require_network, settle, unless_unavailable
from speed_test.machine import GIB, describe, idle_gpu, performance_cores, power_source
from speed_test.results import GENERATION_COLUMNS, file_safe
from speed_test.sweep import Rows, identity, launch, open_results

CONTEXT = 2048
SEED = 42
REPOSITORY = "TheBloke/Llama-2-7B-Chat-GGUF"
FILE = "llama-2-7b-chat.Q4_0.gguf"
LAYERS = 32  # of Llama 2 7B
SYNTHETIC_FILE = f"synthetic_{FILE}"

QUESTIONS = (
    "Why does the moon look larger near the horizon?",
    "How would you explain recursion to a ten-year-old?",
    "What should I check before I buy a used bicycle?",
    "Write a short story about a lighthouse keeper and a lost whale.",
    "What are the causes of inflation, and how do central banks fight it?",
    "Give me a recipe for a vegetable soup with what is in season in October.",
    "How do vaccines teach the immune system?",
    "Compare living in a big city with living in a small village.",
    "Which steps does a compiler take from source code to machine code?",
    "Plan a three-day trip to Lisbon for a family with small children.",
    "What is the difference between weather and climate?",
    "Write a polite letter that asks a neighbour to be quieter at night.",
    "Why did the Roman Empire fall?",
    "How does a heat pump warm a house when it is cold outside?",
    "Explain what a transformer in machine learning pays attention to.",
    "Which exercises help against back pain from sitting all day?",
    "What would happen if the Earth turned twice as fast?",
    "Describe how bread dough rises and what can go wrong.",
    "How can a team of five people make decisions without endless meetings?",
    "Write a poem about the first snow of the year.",
)


def parse():
    parser = Parser.of(__doc__)
    parser.add_argument(
        "--path_to_gguf_model",
        type=Path,
        default=Path(FILE),
        metavar="FILE",
        help="which model to run, any .gguf file (default: %(default)s, here or in --data_dir, downloaded if need be)",
    )
    parser.add_argument(
        "--num_questions",
        type=argument(how_many, f"all, or a whole number from 1 to {len(QUESTIONS)}"),
        default=len(QUESTIONS),
        metavar="N",
        help=f"how many of the {len(QUESTIONS)} questions to ask (default: all)",
    )
    parser.add_argument(
        "--num_times_per_question",
        type=whole_number(1),
        default=5,
        metavar="N",
        help="how many times to ask each (default: %(default)s)",
    )
    parser.add_argument(
        "--max_tokens",
        type=whole_number(2),
        default=500,
        metavar="N",
        help="how many tokens each answer has, no fewer and no more (default: %(default)s)",
    )
    parser.add_argument("--stream_output", action="store_true", help="print the answers as they are generated")
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        metavar="N",
        help="how many CPU threads to use (default: one for each performance core)",
    )
    parser.add_argument(
        "--gpu_layers",
        type=whole_number(0),
        metavar="N",
        help="how many of the model's layers run on the GPU; 0: none (default: all)",
    )
    data_options(parser, "Llama 2 7B chat")
    options = parser.parse_args()
    check_folders(parser, options, "results_llama2")
    path = options.path_to_gguf_model
    if path != Path(FILE) and options.data == "synthetic":
        parser.error("--data=synthetic: it makes a model of its own; leave out --path_to_gguf_model")
    if path != Path(FILE) and not path.is_file():
        there = "is a folder; name the .gguf file in it" if path.is_dir() else "is not there; name a .gguf file"
        parser.error(f"--path_to_gguf_model: {path} {there}, or leave it out for Llama 2 7B chat")
    if options.threads is None:
        options.threads = performance_cores() or os.cpu_count()
    return options


def how_many(text):
    number = len(QUESTIONS) if text == "all" else int(text)
    if not 1 <= number <= len(QUESTIONS):
        raise ValueError
    return number


# ---- The model: a file, a download, or random weights of the same shapes ----


def load_data(options):
    """The path of the model's file: the one named, one that is here, or one downloaded or made into --data_dir.

    Raises DataUnavailable where options.data is "real" and Llama 2 is not here and cannot be downloaded, or
    where there is no room for the stand-in.
    """
    if options.data == "synthetic":
        return synthetic_model(options.data_dir / SYNTHETIC_FILE)
    for path in (options.path_to_gguf_model, options.data_dir / FILE):
        if path.is_file():
            return path
    require_network(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    with unless_unavailable(f"{REPOSITORY} (3.8 GB)"):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(REPOSITORY, FILE, local_dir=options.data_dir))


def synthetic_model(path):
    """Make sure that a model of random weights is at `path`, with the shapes and the types of Llama 2 7B chat Q4_0.

    How many tokens a second it generates depends on those alone. It is kept, and made again if it is broken.
    Raises DataUnavailable where there is no room for it.
    """
    import gguf

    tensors = llama2_tensors()
    sizes = {name: number_of_bytes(shape, kind) for name, (shape, kind) in tensors.items()}
    if path.is_file() and path.stat().st_size > sum(sizes.values()):
        try:
            kept = {tensor.name: tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors}
        except Exception:  # as many as there are ways to break a file
            kept = None
        if kept == sizes:
            return path

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    needed, free = sum(sizes.values()) + 2**24, shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataUnavailable(
            f"the synthetic model takes {needed / GIB:.1f} GB and {path.parent} has {free / GIB:.1f} GB left; "
            "make room, or name another --data_dir or a smaller --path_to_gguf_model"
        )
    try:
        # Written aside and renamed: a file of this name is whole, unless something happens to it later.
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            write_model(Path(scratch, path.name), tensors, sizes)
            os.replace(Path(scratch, path.name), path)
    except OSError as error:
        raise DataUnavailable(f"the synthetic model cannot be written to {path} ({error.strerror})") from None
    return path


def write_model(path, tensors, sizes):
    import gguf
    import numpy
    from tqdm import tqdm

    writer = gguf.GGUFWriter(path, "llama")
    describe_llama2(writer)
    for name, (shape, kind) in tensors.items():
        writer.add_tensor_info(name, shape, numpy.dtype("float32"), sizes[name], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = numpy.random.default_rng(SEED)
    with tqdm(
        desc=f"Making {path.name}", total=sum(sizes.values()), unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        for name, (shape, kind) in tensors.items():
            writer.write_tensor_data(random_weights(random, shape, kind))
            bar.update(sizes[name])
    writer.close()


def llama2_tensors():
    """name -> (shape, type) of Llama 2 7B as it is published in Q4_0: 32 layers of 4,096, 32 heads, 32,000 words."""
    from gguf import GGMLQuantizationType as Kind

    width, feed_forward, words = 4096, 11008, 32000
    tensors = {"token_embd.weight": ((words, width), Kind.Q4_0)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"blk.{layer}.{name}.weight"] = (width, width), Kind.Q4_0
        for name in ("ffn_gate", "ffn_up"):
            tensors[f"blk.{layer}.{name}.weight"] = (feed_forward, width), Kind.Q4_0
        tensors[f"blk.{layer}.ffn_down.weight"] = (width, feed_forward), Kind.Q4_0
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = (width,), Kind.F32
    tensors["output_norm.weight"] = (width,), Kind.F32
    tensors["output.weight"] = (words, width), Kind.Q6_K
    return tensors


def number_of_bytes(shape, kind):
    import gguf
    import numpy

    weights, size = gguf.GGML_QUANT_SIZES[kind]
    return int(numpy.prod(shape)) // weights * size


def random_weights(random, shape, kind):
    """Weights of a spread of about 0.02, as trained ones have, straight in llama.cpp's blocks; 1 for the norms.

    Blocks: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
    """
    import gguf
    import numpy

    if kind == gguf.GGMLQuantizationType.F32:
        return numpy.ones(shape, dtype=numpy.float32)
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = numpy.frombuffer(bytearray(random.bytes(number_of_bytes(shape, kind))), dtype=numpy.uint8).reshape(
        -1, size
    )
    if kind == gguf.GGMLQuantizationType.Q4_0:  # float16 scale, then 32 numbers of 4 bits, from -8 to 7
        blocks[:, :2] = numpy.array([0.02 / 4.6], dtype=numpy.float16).view(numpy.uint8)
    else:  # Q6_K: 256 numbers of 6 bits, from -32 to 31, then 16 scales of 8 bits, then a float16 for all of them
        blocks[:, -18:-2] = 16
        blocks[:, -2:] = numpy.array([0.02 / 18.5 / 16], dtype=numpy.float16).view(numpy.uint8)
    return blocks


def describe_llama2(writer):
    """What the file says of the model. The words of the questions are in the vocabulary, so that a prompt has as
    many tokens as it would have, about one a word; the rest of the 32,000 are made up."""
    import gguf

    writer.add_name("Llama 2 7B chat, random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(4096)
    writer.add_embedding_length(4096)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(11008)
    writer.add_rope_dimension_count(128)
    writer.add_head_count(32)
    writer.add_head_count_kv(32)
    writer.add_layer_norm_rms_eps(1e-5)

    kinds = gguf.TokenType
    tokens = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", kinds.BYTE) for byte in range(256)]
    # Words are put together from the left, so all of their beginnings have to be there, and each letter.
    words = [f"\u2581{word}" for question in QUESTIONS for word in question.split()]
    beginnings = {word[:length] for word in words for length in range(1, len(word) + 1)}
    known = sorted(beginnings | {letter for word in words for letter in word}, key=lambda word: (len(word), word))
    known += [f"\u2581word{number}" for number in range(32000 - len(tokens) - len(known))]
    tokens += [(word, kinds.NORMAL) for word in known]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([float(len(text)) if kind == kinds.NORMAL else 0.0 for text, kind in tokens])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


# ---- Generation ----


def prepare(send, options):
    """Find the model, load it once, and look whether all that will be asked fits; runs in a process of its own."""
    from speed_test.llama import OFFLOAD_ALL, Model, describe_device

    which, why_not_real = settle(options, load_data)
    if why_not_real:
        send("warning", f"SYNTHETIC MODEL, not Llama 2: {why_not_real}")
    path = load_data(options.but(data=which))
    layers = OFFLOAD_ALL if options.gpu_layers is None else options.gpu_layers
    try:
        model = Model(path, gpu_layers=0, only_look=True)
    except ValueError as error:
        raise BadInput(f"--path_to_gguf_model: {path} is not a model that llama.cpp runs ({error})") from None
    longest = max(len(model.prompt(question)) for question in QUESTIONS[: options.num_questions])
    if longest + options.max_tokens > CONTEXT:
        raise BadInput(
            f"--max_tokens={options.max_tokens}: with a prompt of {longest} tokens that is more than the {CONTEXT:,} "
            f"of the context; the most is {CONTEXT - longest:,}"
        )
    send("device", describe_device(layers))
    send("model", (which, path, model.facts()))


def generate(send, path, gpu_layers, options):
    """Ask all questions, all times, and send a row for each answer; runs in a process of its own."""
    from tqdm import tqdm

    from speed_test.llama import Model

    model = Model(path, gpu_layers)
    model.open(CONTEXT, options.threads)
    sampler = model.sampler()
    prompts = [(question, model.prompt(question)) for question in QUESTIONS[: options.num_questions]]
    with report.working("Warming up"):
        answer(model, sampler, prompts[0][1], max_tokens=min(16, options.max_tokens), each=lambda token: None)

    letters = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end in the middle of one

    def show(token):
        report.say(letters.decode(model.piece(token)), end="")

    with tqdm(
        total=options.num_questions * options.num_times_per_question * options.max_tokens,
        unit=" tokens",
        bar_format="{percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left",
        mininterval=0.5,
        dynamic_ncols=True,
        leave=False,
        disable=True if options.stream_output else None,
    ) as bar:
        each = show if options.stream_output else lambda token: bar.update()
        for question, prompt in prompts:
            for iteration in range(1, options.num_times_per_question + 1):
                started_at = datetime.now(UTC).isoformat(timespec="seconds")
                if options.stream_output:
                    report.say(f"\n{question}")
                tokens, seconds = answer(model, sampler, prompt, options.max_tokens, each)
                if options.stream_output:
                    report.say()
                text = model.text(tokens)
                row = {
                    "question": question,
                    "question_iter": iteration,
                    "total_time": seconds["total"],
                    "answer": text,
                    "answer_char_len": len(text),
                    "chars_per_second": len(text) / seconds["total"],
                    "answer_token_len": len(tokens),
                    "tokens_per_second": len(tokens) / seconds["total"],
                    "prompt_tokens": len(prompt),
                    "prompt_seconds": seconds["prompt"],
                    "prompt_tokens_per_second": len(prompt) / seconds["prompt"],
                    "generation_seconds": seconds["generation"],
                    # The first token comes from the prompt; each later one takes a step of its own.
                    "generation_tokens_per_second": (len(tokens) - 1) / seconds["generation"],
                    "time_to_first_token": seconds["first"],
                    "status": "ok",
                    "started_at": started_at,
                    **model.engine_rates(),
                    "flash_attention": model.flash_attention(),
                    "peak_memory_gb": None if gpu_layers else peak_memory_gb(None, "cpu"),
                }
                send("row", row)
    send("done", None)


def answer(model, sampler, prompt, max_tokens, each):
    """Generate exactly `max_tokens` tokens after `prompt`, and call `each(token)`; return them and how long it took.

    The engine works on its own where there is a GPU: what a step costs shows when its token is asked for.
    """
    import llama_cpp

    context = model.context
    model.reset()
    llama_cpp.llama_sampler_reset(sampler)
    step = (llama_cpp.llama_token * 1)()
    batch = (llama_cpp.llama_token * len(prompt))(*prompt)

    start = time.perf_counter()
    decode(context, llama_cpp.llama_batch_get_one(batch, len(prompt)))
    llama_cpp.llama_synchronize(context)
    after_prompt = time.perf_counter()
    token = llama_cpp.llama_sampler_sample(sampler, context, -1)
    after_first = time.perf_counter()
    tokens = [token]
    each(token)
    while len(tokens) < max_tokens:
        step[0] = token
        decode(context, llama_cpp.llama_batch_get_one(step, 1))
        token = llama_cpp.llama_sampler_sample(sampler, context, -1)
        tokens.append(token)
        each(token)
    end = time.perf_counter()
    return tokens, {
        "total": end - start,
        "prompt": after_prompt - start,
        "first": after_first - start,
        "generation": end - after_first,
    }


def decode(context, batch):
    import llama_cpp

    failed = llama_cpp.llama_decode(context, batch)
    if failed:
        raise MemoryError("llama.cpp found no room") if failed == 1 else RuntimeError(f"llama_decode says {failed}")


def main():
    launch(run)


def run(interrupt):
    options = parse()
    with report.working("Getting the model ready"):
        found = Child(prepare, (options,), interrupt).answers()
    device, (which, path, facts) = found["device"], found["model"]
    idle = idle_gpu(device) if options.gpu_layers != 0 else None
    if idle:
        report.warn(idle)
    here = describe(device)
    layers = facts.pop("layers")
    asked = layers if options.gpu_layers is None else min(options.gpu_layers, layers)
    gpu_layers = 0 if device.type == "cpu" else asked

    synthetic = "_synthetic" if which == "synthetic" else ""
    name = f"{here.machine}_{file_safe(path.stem.removeprefix('synthetic_'))}{synthetic}_results.csv"
    results = open_results(options.results_dir / "results_llama2" / name, GENERATION_COLUMNS)
    same = {**facts, "data": which, "threads": options.threads, "gpu_layers": gpu_layers}
    rows = Rows(results, {**identity(device, here), "framework": "llamacpp", "context": CONTEXT, **same})
    report.generation_header(options, device, here, results, {**facts, "data": which})

    def measure():
        child = Child(generate, (path, gpu_layers, options), interrupt)
        for kind, content in child.messages():
            if kind == "row":
                report.generation(rows.save({**content, "power": power_source()}))
        failure = child.failure()
        if failure:
            status, reason = failure
            rows.save_failure(status, reason)
            report.say(f"{status.replace('_', ' ')}: {reason}")

    return rows.saved_by(measure, "answer", report.generation_table)


if __name__ == "__main__":
    main()
