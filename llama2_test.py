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
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from speed_test import Experiment, Options, Repeats, main
from speed_test.command_line import BadInput, Parser, argument, existing_file, whole_number
from speed_test.data.llama_weights import synthetic_llama2
from speed_test.data.sources import hub_file
from speed_test.frameworks import llamacpp
from speed_test.results import GENERATION_COLUMNS
from speed_test.screen import count, number, say

CONTEXT = 2048
REPOSITORY = "TheBloke/Llama-2-7B-Chat-GGUF"
FILE = "llama-2-7b-chat.Q4_0.gguf"
SYNTHETIC_FILE = f"synthetic_{FILE}"
PROMPT_IS_READ = None  # what the generation yields before its tokens
SHORTER = (500, 200, 100, 50, 20)  # how many tokens answers have with --budget, if more would take too long

EXPERIMENT = Experiment(
    name="llama2",
    framework="llamacpp",
    model="llama-2-7b-chat.Q4_0",
    real_data="Llama 2",
    results="results_llama2",
    memory_gb=4.5,
    row_is="answer",
    figure="tokens_per_second",
    unit="tokens per second (answer by total time)",
    better="higher",
    columns=GENERATION_COLUMNS,
    identity=("question", "question_iter", "answer_token_len"),
)

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


def number_of_questions(text: str) -> int:
    chosen = len(QUESTIONS) if text == "all" else int(text)
    if not 1 <= chosen <= len(QUESTIONS):
        raise ValueError
    return chosen


def add_options(parser: Parser) -> None:
    def add(flag: str, text: str, **settings) -> None:
        parser.add_argument(flag, help=text, **settings)

    at_least = whole_number
    which = argument(number_of_questions, f"all, or a whole number from 1 to {len(QUESTIONS)}")
    model = "which .gguf file to run (default: %(default)s, here or in --data_dir, downloaded if need be)"
    add("--path_to_gguf_model", model, type=existing_file, default=Path(FILE), metavar="FILE")
    add("--num_questions", "how many questions to ask (default: all)", type=which, default=len(QUESTIONS), metavar="N")
    add("--num_times_per_question", "how many times (default: 5)", type=at_least(1), default=5, metavar="N")
    add("--max_tokens", "how many tokens each answer has (default: 500)", type=at_least(2), default=500, metavar="N")
    add("--stream_output", "print the answers as they are generated", action="store_true")
    llamacpp.add_options(parser)


# ---- The model: a file, a download, or random weights of the same shapes ----


def load_data(options: Options) -> Path:
    """The model's file: the one named, one that is here, or one downloaded or made into --data_dir.

    Raises DataUnavailable if options.data is "real" and Llama 2 is neither here nor to be downloaded, or if there is
    no room for the synthetic one.
    """
    path = options.path_to_gguf_model
    if options.data == "synthetic" and path == Path(FILE):
        return synthetic_llama2(options.data_dir / SYNTHETIC_FILE, QUESTIONS)
    if options.data == "synthetic":
        raise BadInput("--data=synthetic: it makes a model of its own; leave out --path_to_gguf_model")
    return path if path.is_file() else hub_file(REPOSITORY, FILE, options.data_dir, begins=b"GGUF")


def describe(options: Options) -> Experiment:
    """The experiment with the facts of the model's file, which name the CSV and stand in each row."""
    questions = QUESTIONS[: options.num_questions]
    model, prompts = llamacpp.inspect_model(load_data(options), questions)
    llamacpp.require_room(prompts.values(), options.max_tokens, CONTEXT)
    times = "once" if options.num_times_per_question == 1 else f"{options.num_times_per_question} times"
    most = "up to " if options.budget else ""
    asked = f"{most}{count(len(questions), 'question')}, {times} each, {most}{options.max_tokens} tokens an answer"
    weights = "random weights (synthetic)" if options.data == "synthetic" else "real"
    facts = {**model.facts(options), "context": CONTEXT}
    return replace(EXPERIMENT, model=model.name, facts=facts, header=f"{model.summary(weights)}\n{asked}")


# ---- Generation ----


def generation(batch_size: None, options: Options) -> Repeats:
    """All questions, each asked so many times; runs in a fresh process of its own."""
    model = llamacpp.open_model(load_data(options), CONTEXT, options)
    prompts = model.prompts(QUESTIONS[: options.num_questions])
    # A template is a program, which may write something else than it did for `describe`.
    llamacpp.require_room(prompts.values(), options.max_tokens, CONTEXT)
    answered: list[str] = []
    length = options.max_tokens
    times = range(1, options.num_times_per_question + 1)
    asked = [(question, number, options.max_tokens) for question in prompts for number in times]
    letters = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end in the middle of a letter

    def answer(item: tuple[str, int, int]) -> Iterator[int | None]:
        """Read a question, then yield each token of its answer as soon as it is known."""
        model.read(prompts[item[0]])
        yield PROMPT_IS_READ
        token = model.sample()
        yield token
        for _ in range(length - 1):
            model.decode([token])
            token = model.sample()
            yield token

    def fit(most: int) -> int:
        """Make answers so short that generation yields no more than `most` things, but of a usual length."""
        nonlocal length
        shorter = [tokens for tokens in SHORTER if tokens < length]
        length = next((tokens for tokens in (length, *shorter) if 1 + tokens <= most), min([length, *shorter]))
        if length < options.max_tokens:
            say(f"Answers have {length} tokens in place of {options.max_tokens}, so that more fit into --budget")
        return 1 + length

    def show(item: tuple[str, int, int]) -> Iterator[int | None]:
        """The same, and print the answer as it comes."""
        say(f"\n{item[0]}")
        for token in answer(item):
            say("" if token is None else letters.decode(model.piece(token)), end="")
            yield token
        say()

    def row(item: tuple[str, int, int], yielded: list[int], seconds: list[float]) -> dict[str, object]:
        (question, iteration, _), tokens = item, yielded[1:]
        answered.append(question)
        prompt, first, total = seconds[0], seconds[1], seconds[-1]
        text = model.text(tokens)
        # The first token comes from the prompt; each later one takes a step of its own.
        rate = (len(tokens) - 1) / (total - first)
        return {
            "question": question,
            "question_iter": iteration,
            "total_time": total,
            "answer": text,
            "answer_char_len": len(text),
            "chars_per_second": len(text) / total,
            "answer_token_len": len(tokens),
            "tokens_per_second": len(tokens) / total,
            "prompt_tokens": len(prompts[question]),
            "prompt_seconds": prompt,
            "prompt_tokens_per_second": len(prompts[question]) / prompt,
            "generation_seconds": total - first,
            "generation_tokens_per_second": rate,
            "time_to_first_token": first,
            **model.engine_rates(),
            **model.near_the_limit(rate),
            "flash_attention": model.flash_attention(),
        }

    def line(row: dict) -> str:
        question = row["question"] if len(row["question"]) <= 40 else row["question"][:37] + "..."
        rate, first = number(row["generation_tokens_per_second"]), row["time_to_first_token"]
        return f"{question:40} {row['question_iter']}: {rate} tokens/s, first after {first:.2f} s"

    def after() -> str:
        tokens = len(answered) * length
        return f"\n{count(len(answered), 'answer')} to {count(len(set(answered)), 'question')}, {tokens:,} tokens"

    work = show if options.stream_output else answer
    bar = {"yields": 1 + options.max_tokens, "unit": "tokens", "quiet": options.stream_output}
    return Repeats(work, asked, row=row, rewind=model.reset, line=line, after=after, fit=fit, **bar)


if __name__ == "__main__":
    main(EXPERIMENT, load_data, generation, add_options, describe)
