"""What is trained on: the datasets, how rows become tokens, and how tokens become batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunelab.config.setting import Section, Setting, Support

TrainOn = Literal["all", "turn", "last", "none"]
DsType = Literal["json", "jsonl", "csv", "parquet", "text"]


class Dataset(Section):
    """One entry of `datasets`."""

    path: Annotated[str, Field(min_length=1), Setting(
        "Where the rows are: a local file or folder, or a dataset id on the Hub.",
        "Decides what the model learns; a thousand good rows beat a hundred thousand careless ones.", example="path: data/train.jsonl")]
    type: Annotated[str | None, Setting(
        "How a row is turned into a prompt and an answer: alpaca, chat_template, completion or input_output.",
        "Quality: it decides the prompt text and which tokens carry loss.", "chat_template", ("chat_template", "train_on_inputs"),
        "type: chat_template")] = None
    name: Annotated[str | None, Setting("The configuration (subset) of a Hub dataset.", "Decides which rows are read.")] = None
    split: Annotated[str | None, Setting("Which split of the dataset to read.", "Decides which rows are read.", "train",
                                         example="split: train")] = None
    revision: Annotated[str | None, Setting("The branch, tag or commit of a Hub dataset.",
                                            "Pin a commit and the rows never change under you.")] = None
    data_files: Annotated[str | list[str] | None, Setting("Files inside the folder or Hub dataset to read.",
                                                          "Decides which rows are read.")] = None
    ds_type: Annotated[DsType | None, Setting("The file format, when the file name does not say it.",
                                              "None beyond reading the file.", example="ds_type: json")] = None
    shards: Annotated[int | None, Field(gt=0), Setting(
        "Cut the rows into this many equal parts and keep only one of them.",
        "Speed: `shards: 10` trains on a tenth of the rows. Quality: on a tenth of the rows.", "unset", ("shards_idx", "seed"),
        "shards: 10")] = None
    shards_idx: Annotated[int | None, Field(ge=0), Setting("Which of the shards to keep, from 0.", "Decides which rows are kept.",
                                                           "0", ("shards",))] = None
    field: Annotated[str | None, Setting("completion: the column that holds the text.", "Decides what is read.", "text")] = None
    field_messages: Annotated[str | None, Setting("chat_template: the column that holds the list of messages.",
                                                  "Decides what is read.", "messages (ShareGPT data: conversations)")] = None
    message_property_mappings: Annotated[dict[str, str] | None, Setting(
        "chat_template: which keys of a message hold its role and its content.",
        "Decides what is read; ShareGPT data needs {role: from, content: value}.", "{role: role, content: content}")] = None
    roles: Annotated[dict[str, list[str]] | None, Setting(
        "chat_template: names used in the data for each role of the template.", "Decides whose turns are whose.",
        "{user: [human, user], assistant: [gpt, assistant], system: [system]}")] = None
    roles_to_train: Annotated[list[str] | None, Setting(
        "chat_template: the roles whose turns carry loss.", "Quality: the model learns to write these turns and only reads the others.",
        "[assistant]", ("train_on_inputs",))] = None
    train_on_eos: Annotated[TrainOn | None, Setting(
        "chat_template: after which turns the end-of-turn token carries loss.",
        "Quality: with none the model never learns to stop.", "turn")] = None
    chat_template: Annotated[str | None, Setting("A chat template for this dataset alone.", "As the top-level chat_template.",
                                                 "unset", ("chat_template",))] = None
    chat_template_jinja: Annotated[str | None, Setting("The template's own text, for this dataset alone.", "As chat_template.")] = None
    drop_system_message: Annotated[bool | None, Setting(
        "chat_template: leave out the first message when it is a system message.",
        "Templates with a built-in system text then insert theirs.", "false")] = None


class DataSection(Section):
    """The datasets and how rows become batches."""

    datasets: Annotated[list[Dataset], Field(min_length=1), Setting(
        "The data to train on: a list of sources, each with a path and a type.",
        "Time grows with the number of tokens; quality is decided here more than anywhere else.",
        "500-50,000 good rows", ("val_set_size", "sequence_len", "train_on_inputs"),
        "datasets: [{path: data/train.jsonl, type: chat_template}]")]
    dataset_prepared_path: Annotated[str | None, Setting(
        "The folder that caches tokenised rows.", "Speed: later starts skip tokenising. A changed input never hits an old cache.",
        "last_run_prepared", ("datasets",), "dataset_prepared_path: last_run_prepared")] = None
    shuffle_merged_datasets: Annotated[bool, Setting(
        "Shuffle the rows (with `seed`) before they are split and trained on.", "Quality: sorted data trains badly unless shuffled.",
        "true", ("seed",))] = True
    val_set_size: Annotated[float, Field(ge=0), Setting(
        "How many rows to hold out for evaluation: a share below 1, or a number of rows.",
        "Those rows are not trained on. They are only looked at when an eval_* setting asks for evaluation.",
        "0.02-0.1", ("eval_steps", "evals_per_epoch", "eval_strategy"), "val_set_size: 0.05")] = 0.0
    sequence_len: Annotated[int, Field(gt=0), Setting(
        "The longest row, in tokens, and the length of a packed row.",
        "Memory of activations grows with it. Rows that are longer are left out, and counted.",
        "512-4096; not above the model's own limit", ("sample_packing", "micro_batch_size"), "sequence_len: 2048")] = 512
    sample_packing: Annotated[bool | None, Setting(
        "Lay several short rows end to end in one row of sequence_len tokens; they do not see each other.",
        "Speed: up to several times faster when rows are much shorter than sequence_len. Quality: none, as long as rows stay apart.",
        "true", ("sequence_len", "pad_to_sequence_len", "micro_batch_size"), "sample_packing: true")] = None
    eval_sample_packing: Annotated[bool | None, Setting(
        "The same for the held-out rows.", "Speed of evaluation; the loss per token is the same.", "as sample_packing",
        ("sample_packing",))] = None
    pad_to_sequence_len: Annotated[bool | None, Setting(
        "Fill every batch up to sequence_len.",
        "Memory and time become the same in every step; on a CPU the padding is wasted time.", "true with packing on a GPU",
        ("sequence_len", "sample_packing"), "pad_to_sequence_len: true")] = None
    train_on_inputs: Annotated[bool, Setting(
        "Let the prompt carry loss too, not only the answer.", "Quality: the model also learns to write questions; rarely wanted.",
        "false", ("datasets",), "train_on_inputs: false")] = False
    dataset_processes: Annotated[int | None, Field(gt=0), Setting(
        "How many processes tokenise.", "Speed of preparation only.", "all cores", support=Support.UNDERSTOOD)] = None
