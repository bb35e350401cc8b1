# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#     "torch>=2.13,<2.16",
#     "transformers>=5.0",
#     "datasets>=4.0",
#     "accelerate>=1.10",
#     "evaluate>=0.4.6",
#     "scikit-learn>=1.5",
#     "tqdm>=4.66",
#     "psutil>=6.0",
#     "portalocker>=3.0",
#     "py-cpuinfo>=9.0",
#     "nvidia-ml-py>=12.535 ; sys_platform != 'darwin'",
#     "zeus-apple-silicon>=1.1 ; sys_platform == 'darwin' and platform_machine == 'arm64'",
# ]
# ///
"""How fast does this machine fine-tune DistilBERT on IMDB with PyTorch?

  python pytorch_test_nlp.py --epochs=1 --batch_sizes="32"

Every epoch goes through 25,000 film reviews of 512 tokens each and appends a
row to a CSV in results/results_pytorch_nlp/. Only the last transformer block
and the classifier are trained. Without options it trains 3 epochs at each of 6
batch sizes. On a slow machine, --time_limit=60 measures 60 seconds of every
epoch and estimates the rest.
"""

from typing import TYPE_CHECKING, Any

from speed_test import Epochs, Experiment, Options, main
from speed_test.command_line import Parser
from speed_test.data.kept import kept_tensors
from speed_test.data.sources import hugging_face
from speed_test.screen import progress_bar

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DistilBertForSequenceClassification

MODEL = "distilbert/distilbert-base-uncased"
TOKENS = 512
WORDS = 30_522  # in BERT's vocabulary
PAD = 0  # the id of [PAD] in it
LEARNING_RATE = 2e-5
WEIGHT_DECAY = 0.01
SEED = 42

EXPERIMENT = Experiment(
    framework="pytorch",
    model="distilbert-base-uncased",
    dataset="IMDB",
    input_size=TOKENS,
    samples=25_000,
    samples_are="reviews of 512 tokens",
    results="results_pytorch_nlp",
    memory_gb=2.5,
    epochs=3,
    switches=("precision", "compile", "processes"),
    batch_sizes=(16, 32, 64, 128, 256, 512),
)


def add_options(parser: Parser) -> None:
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="after the last epoch, print the accuracy on the test reviews; never timed",
    )


# ---- Data: reviews as token ids, all of them in memory ----


def load_data(options: Options) -> "tuple[Tensor, Tensor]":
    """The training set: token ids int32 [25000, 512], padded with 0, and labels int64 [25000].

    Raises DataUnavailable if options.data is "real" and IMDB (84 MB) or DistilBERT (268 MB) can be
    neither read nor downloaded.
    """
    if options.data == "synthetic":
        return synthetic_reviews()

    with hugging_face(f"stanfordnlp/imdb and {MODEL}"):
        load_model(options)
        if options.evaluate:
            tokenised(options, "test")
            accuracy_metric()
        return tokenised(options, "train")


def synthetic_reviews() -> "tuple[Tensor, Tensor]":
    """Random token ids, in reviews as long as IMDB's: half of them under 230 tokens, a seventh over 512."""
    import torch

    torch.manual_seed(SEED)
    ids = torch.randint(1000, WORDS, (EXPERIMENT.samples, TOKENS), dtype=torch.int32)
    lengths = torch.empty(EXPERIMENT.samples, 1).log_normal_(mean=5.43, std=0.75).clamp(16, TOKENS)
    ids[torch.arange(TOKENS) >= lengths] = PAD
    return ids, torch.randint(0, 2, (EXPERIMENT.samples,))


def tokenised(options: Options, split: str) -> "tuple[Tensor, Tensor]":
    """IMDB's reviews as token ids, made once and then kept in --data_dir."""
    import torch

    def make() -> "dict[str, Tensor]":
        import datasets
        from transformers import AutoTokenizer

        reviews = datasets.load_dataset("stanfordnlp/imdb", split=split)
        tokenizer = AutoTokenizer.from_pretrained(MODEL, trust_remote_code=False)
        form = {"padding": "max_length", "truncation": True, "max_length": TOKENS, "return_tensors": "pt"}
        parts = []
        with progress_bar(f"Turning {split} reviews into tokens", len(reviews), "reviews") as bar:
            for part in reviews.batch(1000):
                parts.append(tokenizer(part["text"], **form)["input_ids"].to(torch.int32))
                bar.update(len(part["text"]))
        return {"ids": torch.cat(parts), "labels": torch.tensor(reviews["label"][:])}

    tensors = kept_tensors(options.data_dir / f"imdb_{split}_distilbert_{TOKENS}_tokens.pt", make, are_reviews)
    return tensors["ids"], tensors["labels"]


def are_reviews(tensors: "dict[str, Tensor]") -> bool:
    """Whether these are IMDB's reviews as `tokenised` makes them, as far as shapes, types and ranges tell.

    Both of IMDB's splits have 25,000.
    """
    import torch

    ids, labels = tensors["ids"], tensors["labels"]
    return (
        (ids.dtype, tuple(ids.shape)) == (torch.int32, (EXPERIMENT.samples, TOKENS))
        and (labels.dtype, tuple(labels.shape)) == (torch.int64, (EXPERIMENT.samples,))
        and 0 <= int(ids.min()) <= int(ids.max()) < WORDS
        and 0 <= int(labels.min()) <= int(labels.max()) <= 1
        and bool((ids != PAD).any(dim=1).all())
    )


# ---- Model and training step ----


def load_model(options: Options) -> "DistilBertForSequenceClassification":
    """DistilBERT with a new classifier for two classes; all weights are random for synthetic data.

    Of its 66,955,010 parameters, the 7,680,002 of the last transformer block and of what follows it are trained.
    """
    import transformers

    if options.data == "synthetic":
        model = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(num_labels=2))
    else:
        transformers.logging.set_verbosity_error()  # it warns that the classifier is new, which is intended
        model = transformers.DistilBertForSequenceClassification.from_pretrained(MODEL, num_labels=2)

    model.requires_grad_(False)
    for part in (model.distilbert.transformer.layer[-1], model.pre_classifier, model.classifier):
        part.requires_grad_(True)
    return model.train()


def training(batch_size: int, options: Options) -> Epochs:
    """DistilBERT at one batch size; runs in a fresh process of its own."""
    import torch
    from accelerate import Accelerator

    from speed_test.frameworks.pytorch import mixed_precision, prepared, rewind_of, shuffled_batches

    torch.manual_seed(SEED)
    # Accelerate has a mixed_precision of its own, but refuses float16 on a CPU, so it is asked for none here.
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision="no")
    model = load_model(options)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model, optimizer = accelerator.prepare(model, optimizer)
    model = prepared(model, options)  # wrapped by Accelerate already, if several processes train together
    autocast, scaler = mixed_precision(options)

    # The whole set is 51 MB of token ids: on the device, no batch ever has to wait for a copy.
    ids, labels = (part.to(accelerator.device) for part in load_data(options))
    batches = shuffled_batches(ids, labels, batch_size=batch_size, seed=SEED)

    def step(ids: "Tensor", labels: "Tensor") -> "Tensor":
        with autocast:
            loss = model(input_ids=ids.long(), attention_mask=(ids != PAD).long(), labels=labels).loss
        optimizer.zero_grad()
        accelerator.backward(scaler.scale(loss))
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    def evaluate() -> str:
        return evaluation(accelerator.unwrap_model(model), batch_size, options)

    rewind = rewind_of(model, optimizer, scaler)
    return Epochs(step, batches, samples=len(labels), rewind=rewind, after=evaluate if options.evaluate else None)


# ---- Accuracy, with --evaluate: it shows that what was timed was training ----


def accuracy_metric() -> Any:
    """The accuracy of the evaluate package, whose code is a file on the hub; None if that cannot be had."""
    import evaluate

    try:
        return evaluate.load("accuracy")
    except Exception:  # out of reach, and not kept from an earlier run
        return None


def evaluation(model: Any, batch_size: int, options: Options) -> str:
    """One line: the accuracy on the test reviews, by the evaluate package or, without the network, by hand."""
    import torch

    if options.data == "synthetic":
        return f"batch size {batch_size}: no accuracy, for synthetic reviews have nothing to learn"
    ids, labels = tokenised(options, "test")
    predictions = []
    model.eval()
    with torch.inference_mode(), progress_bar(f"batch size {batch_size}, evaluating", len(ids), "reviews") as bar:
        for part in ids.split(batch_size):
            part = part.to(model.device)
            logits = model(input_ids=part.long(), attention_mask=(part != PAD).long()).logits
            predictions.append(logits.argmax(dim=1).cpu())
            bar.update(len(part))
    predicted = torch.cat(predictions)
    metric = accuracy_metric()
    if metric is not None:  # one without predictions is falsy
        accuracy = metric.compute(predictions=predicted, references=labels)["accuracy"]
        by = "evaluate's accuracy"
    else:
        accuracy = (predicted == labels).double().mean().item()
        by = "computed here, for evaluate's metric cannot be fetched"
    return f"batch size {batch_size}: {accuracy:.1%} of {len(labels):,} test reviews right ({by})"


if __name__ == "__main__":
    main(EXPERIMENT, load_data, training, add_options)
