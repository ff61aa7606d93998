"""What is trained on: the datasets, how rows become tokens, and how tokens become batches."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tunelab.config.setting import Section, Setting, Support

TrainOn = Literal["all", "turn", "last", "none"]
DsType = Literal["json", "jsonl", "csv", "tsv", "parquet", "arrow", "text"]

TAKEN_FOR: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "openhermes": {"type": "chat_template", "field_messages": "conversations", "message_property_mappings": {"role": "from", "content": "value"}}})
"""Names of `type` that Axolotl never had and that mean one thing all the same -> the settings that they are taken for (TL302 says so)."""


class RowFormat(Section):
    """A `type` written as a mapping: which columns hold what, and how they are laid out.

    The first eight keys are for plain training; the rest for preference data (`rl: dpo` and `rl: kto`).
    """

    system_prompt: Annotated[str | None, Setting(
        "The system text of rows that have no system column.", "Quality: part of every such prompt; use the same text at inference.",
        "unset (none)", ("datasets[].type.system_format", "datasets[].type.field_system"), "type: {system_prompt: You answer in one sentence.}")] = None
    system_format: Annotated[str | None, Setting(
        "How the system text is written; {system} stands for it. It comes right before `format`, so it ends with its own line break.",
        "Quality: it decides the tokens before every prompt. A row without system text gets none of it.",
        '"{system}" (default), "{system}\\n\\n"', ("datasets[].type.system_prompt",), 'type: {system_format: "<|system|>\\n{system}\\n"}')] = None
    field_system: Annotated[str | None, Setting(
        "The column that holds the system text. For preference data it is read only when prompt_format has {system}.",
        "Quality: with a wrong name the rows go on without it.", "system", ("datasets[].type.system_prompt",),
        "type: {field_system: persona}")] = None
    field_instruction: Annotated[str | None, Setting(
        "The column that fills {instruction}.", "The one column that every row must have.", "instruction",
        ("datasets[].type.format",), "type: {field_instruction: question}")] = None
    field_input: Annotated[str | None, Setting(
        "The column that fills {input}. Rows where it is empty use no_input_format.", "Quality: with a wrong name the context is lost.",
        "input", ("datasets[].type.format", "datasets[].type.no_input_format"), "type: {field_input: context}")] = None
    field_output: Annotated[str | None, Setting(
        "The column that holds the answer; the end-of-text token is added to it.", "Quality: with a wrong name there is nothing to learn.",
        "output", ("train_on_inputs",), "type: {field_output: answer}")] = None
    format: Annotated[str | None, Setting(
        "The prompt of rows with an input; {instruction} and {input} stand for the columns. The answer follows right after it.",
        "Quality: this is the prompt that the model expects later.", '"{instruction} {input} "',
        ("datasets[].type.no_input_format", "train_on_inputs"), 'type: {format: "Q: {instruction}\\n{input}\\nA: "}')] = None
    no_input_format: Annotated[str | None, Setting(
        "The prompt of rows without an input; only {instruction} may stand in it.",
        "Quality: keep it like `format` without the input; unset, such rows get the bare default layout.", '"{instruction} "',
        ("datasets[].type.format",), 'type: {no_input_format: "Q: {instruction}\\nA: "}')] = None
    field_prompt: Annotated[str | None, Setting("rl: the column that fills {prompt}.", "Every row must have it.", "prompt",
                                                ("datasets[].type.prompt_format", "rl"), "type: {field_prompt: question}")] = None
    field_chosen: Annotated[str | None, Setting(
        "rl: dpo: the column with the better answer.", "Quality: swapped with field_rejected, the model learns the worse answers.", "chosen",
        ("datasets[].type.field_rejected", "rl"), "type: {field_chosen: better}")] = None
    field_rejected: Annotated[str | None, Setting("rl: dpo: the column with the worse answer.", "Every row must have it.", "rejected",
                                                  ("datasets[].type.field_chosen", "rl"), "type: {field_rejected: worse}")] = None
    prompt_format: Annotated[str | None, Setting(
        "rl: how the prompt is written, with {prompt} and, where wanted, {system}. No chat template is applied.",
        "Quality: it must be the layout that the model knows.", '"{prompt}"', ("datasets[].type.field_prompt", "rl"),
        'type: {prompt_format: "<|user|>\\n{prompt}\\n<|assistant|>\\n"}')] = None
    chosen_format: Annotated[str | None, Setting(
        "rl: dpo: how the better answer is written, with {chosen}; the token that ends a turn belongs here.",
        "Quality: keep it like rejected_format, or the layout alone tells the two apart.", '"{chosen}"',
        ("datasets[].type.rejected_format", "rl"), 'type: {chosen_format: "{chosen}<|im_end|>"}')] = None
    rejected_format: Annotated[str | None, Setting(
        "rl: dpo: how the worse answer is written, with {rejected}.", "Quality: keep it like chosen_format.", '"{rejected}"',
        ("datasets[].type.chosen_format", "rl"), 'type: {rejected_format: "{rejected}<|im_end|>"}')] = None
    field_completion: Annotated[str | None, Setting("rl: kto: the column with the answer.", "Every row must have it.", "completion",
                                                    ("datasets[].type.field_label", "rl"), "type: {field_completion: answer}")] = None
    field_label: Annotated[str | None, Setting("rl: kto: the column with the verdict on the answer: true is good.",
                                               "Quality: it decides which way a row pushes the model.", "label",
                                               ("datasets[].type.field_completion", "rl"), "type: {field_label: thumbs_up}")] = None
    completion_format: Annotated[str | None, Setting(
        "rl: kto: how the answer is written, with {completion}.", "Quality: the token that ends a turn belongs here.", '"{completion}"',
        ("datasets[].type.prompt_format", "rl"), 'type: {completion_format: "{completion}<|im_end|>"}')] = None


class Dataset(Section):
    """One entry of `datasets`."""

    path: Annotated[str, Field(min_length=1), Setting(
        "Where the rows are: a local file or folder, or a dataset id on the Hub.",
        "Decides what the model learns; a thousand good rows beat a hundred thousand careless ones.", example="path: data/train.jsonl")]
    type: Annotated[str | RowFormat | None, Setting(
        "How a row is turned into a prompt and an answer: the name of a format (chat_template, alpaca, completion, input_output, ...), or the "
        "format itself as a mapping. Rows that are token ids already (input_ids, attention_mask, labels) need none.",
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
    trust_remote_code: Annotated[bool | None, Setting(
        "Once allowed a Hub dataset to run a loading script of its own. No code of a dataset is ever run here, and the datasets library in use cannot "
        "run any either: a dataset that needs a script is refused.",
        "None. The Parquet copy that the Hub keeps of most such datasets is read instead: revision: refs/convert/parquet.", "false",
        ("trust_remote_code", "datasets[].revision"), "trust_remote_code: false", Support.UNDERSTOOD)] = None
    shards: Annotated[int | None, Field(gt=0), Setting(
        "Cut the rows into this many equal parts and keep only one of them.",
        "Speed: `shards: 10` trains on a tenth of the rows. Quality: on a tenth of the rows.", "unset", ("shards_idx", "seed"),
        "shards: 10")] = None
    shards_idx: Annotated[int | None, Field(ge=0), Setting("Which of the shards to keep, from 0.", "Decides which rows are kept.",
                                                           "0", ("shards",))] = None
    preprocess_shards: Annotated[int | None, Field(gt=0), Setting(
        "Cut the shuffled rows into this many equal parts and use all of them, one after the other.",
        "None but the order of the rows: memory is bounded without it. Not looked at when `shards` is set.", "unset",
        ("datasets[].shards", "seed", "shuffle_before_merging_datasets"), "preprocess_shards: 8")] = None
    weight: Annotated[float | None, Field(gt=0, le=1), Setting(
        "The share of the rows to use: they are shuffled and the first weight x rows are kept, at least one.",
        "Quality: sets the mix between datasets. Speed: fewer rows to train on. It is a part of the rows, not a probability.",
        "unset (all rows); 0.1-0.5 for a large general set beside a small special one", ("seed", "datasets[].shards"), "weight: 0.2")] = None
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
    train_on_eot: Annotated[TrainOn | None, Setting(
        "chat_template: after which turns the tokens of `eot_tokens` carry loss.",
        "Quality: with none the model never learns to end a turn.", "as train_on_eos", ("eot_tokens", "datasets[].train_on_eos"),
        "train_on_eot: turn")] = None
    message_field_training: Annotated[str | None, Setting(
        "chat_template: the key of a message that says whether its turn is trained. Where a message has it, it decides alone.",
        "Quality: learn the good answers of a conversation and only read the bad ones.", "unset; train or weight",
        ("datasets[].roles_to_train", "datasets[].message_field_training_detail"), "message_field_training: train")] = None
    message_field_training_detail: Annotated[str | None, Setting(
        "chat_template: the key of a message that lists stretches of its text as {begin_offset, end_offset, train}, both ends included. "
        "Only tokens of a stretch with train: true carry loss; a border inside a token is moved to the token's.",
        "Quality: leaves out parts of an answer, such as a quotation.", "unset", ("datasets[].message_field_training",),
        "message_field_training_detail: spans")] = None
    split_thinking: Annotated[bool | None, Setting(
        "chat_template: cut a reasoning block (<think>, <reasoning>, <|begin_of_thought|>) out of an answer and hand it to the template on "
        "its own.", "Quality: needed when the template prints the reasoning itself; in another template the reasoning is lost.", "false",
        ("datasets[].template_thinking_key", "chat_template"), "split_thinking: true")] = None
    template_thinking_key: Annotated[str | None, Setting(
        "chat_template: the name under which the template expects the reasoning of a turn.",
        "Quality: under a name that the template does not know the reasoning is lost.", "reasoning_content",
        ("datasets[].split_thinking", "datasets[].message_property_mappings"), "template_thinking_key: thinking")] = None
    conversation: Annotated[str | None, Setting(
        "alpaca_chat: the layout of the prompt, instead of chat: instruct, chatml or phi.", "Quality: it decides the prompt text.", "chat",
        ("datasets[].type",), "conversation: chatml")] = None
    field_chosen: Annotated[str | None, Setting(
        "rl: dpo with a chat template: the column with the better answer.", "Quality: swapped with field_rejected, the model learns the worse "
        "answers.", "chosen", ("datasets[].field_rejected", "rl"), "field_chosen: better")] = None
    field_rejected: Annotated[str | None, Setting("rl: dpo with a chat template: the column with the worse answer.", "Every row must have it.",
                                                  "rejected", ("datasets[].field_chosen", "rl"), "field_rejected: worse")] = None
    chat_template: Annotated[str | None, Setting("A chat template for this dataset alone.", "As the top-level chat_template.",
                                                 "unset", ("chat_template",))] = None
    chat_template_jinja: Annotated[str | None, Setting("The template's own text, for this dataset alone.", "As chat_template.")] = None
    drop_system_message: Annotated[bool | None, Setting(
        "chat_template: leave out the first message when it is a system message.",
        "Templates with a built-in system text then insert theirs.", "false")] = None

    @model_validator(mode="before")
    @classmethod
    def _taken_for(cls, values: Any) -> Any:
        """A `type` of TAKEN_FOR, with what is written beside it (in its modern spelling: pydantic asks the later validator first)."""
        name = values.get("type") if isinstance(values, dict) else None
        if not isinstance(name, str) or name not in TAKEN_FOR:
            return values
        meant = TAKEN_FOR[name]
        written = {key: value for key, value in values.items() if value is not None and key != "type"}
        if isinstance(mapping := written.get("message_property_mappings"), dict):
            written["message_property_mappings"] = {**meant["message_property_mappings"], **mapping}
        return {**meant, **written}

    @model_validator(mode="before")
    @classmethod
    def _modern_names(cls, values: Any) -> Any:
        """message_field_role and message_field_content are old spellings of entries of message_property_mappings."""
        if not isinstance(values, dict) or not ({"message_field_role", "message_field_content"} & set(values)):
            return values
        kept = {key: value for key, value in values.items() if key not in ("message_field_role", "message_field_content")}
        mapping = kept.get("message_property_mappings") or {}
        old = {name: value for name in ("role", "content") if (value := values.get(f"message_field_{name}"))}
        return {**kept, "message_property_mappings": {**old, **mapping}} if isinstance(mapping, dict) else kept

    @property
    def type_name(self) -> str:
        """`type` as a name: "" when it is not written, "user_defined" for a format that is written as a mapping."""
        return self.type if isinstance(self.type, str) else "user_defined" if self.type is not None else ""


class PretrainingDataset(Section):
    """An entry of `pretraining_dataset`: documents that are read as a stream."""

    path: Annotated[str, Setting("A file, a folder, or the name of a dataset on the Hub.", "Decides what is read.", example="path: org/corpus")]
    type: Annotated[str | None, Setting(
        "How a row becomes tokens: pretrain cuts whole documents into windows; any other type reads rows as it does under `datasets`.",
        "Quality: with pretrain every token is learnt and no prompt is masked.", "pretrain (default)", ("sample_packing",), "type: pretrain")] = "pretrain"
    text_column: Annotated[str | None, Setting("The column that holds the document.", "Decides what is read; every row must have it.",
                                               "text (default), content", ("pretraining_dataset",), "text_column: content")] = "text"
    skip: Annotated[int | None, Field(ge=0), Setting(
        "Rows to pass over at the start of the stream, before it is shuffled: to go on behind what an earlier run has seen.",
        "Speed: skipped rows are still read.", "unset (0)", ("pretraining_dataset",), "skip: 100000")] = None
    name: Annotated[str | None, Setting("The configuration (subset) of a Hub dataset.", "Decides which rows are read.")] = None
    split: Annotated[str | None, Setting("Which split of the dataset to read.", "Decides which rows are read.", "train", example="split: train")] = "train"
    revision: Annotated[str | None, Setting("The branch, tag or commit of a Hub dataset.", "Pin a commit and the rows never change under you.")] = None
    data_files: Annotated[str | list[str] | None, Setting("Files inside the folder or Hub dataset to read.", "Decides which rows are read.")] = None
    ds_type: Annotated[DsType | None, Setting("The file format, when the file name does not say it.", "None beyond reading the file.",
                                              example="ds_type: json")] = None


class DataSection(Section):
    """The datasets and how rows become batches."""

    datasets: Annotated[list[Dataset], Field(min_length=1), Setting(
        "The data to train on: a list of sources, each with a path and a type.",
        "Time grows with the number of tokens; quality is decided here more than anywhere else.",
        "500-50,000 good rows", ("val_set_size", "sequence_len", "train_on_inputs"),
        "datasets: [{path: data/train.jsonl, type: chat_template}]")]
    pretraining_dataset: Annotated[list[PretrainingDataset] | None, Setting(
        "A list whose first entry is a corpus of documents, read as a stream instead of `datasets`. max_steps says how far: exactly the rows that "
        "those steps take are read and tokenised, onto disk, before step 1. A stream that ends earlier begins again.",
        "Memory: that of the shuffle buffer. Disk: 4 bytes for each token that is used. Quality: continued pretraining on plain text; with "
        "sample_packing documents are cut into windows, without it each is cut off at sequence_len - 2 tokens, as in Axolotl.",
        "unset; one entry with path and text_column", ("max_steps", "streaming", "streaming_multipack_buffer_size", "sample_packing", "test_datasets"),
        "pretraining_dataset: [{path: org/corpus, split: train}]")] = None
    streaming: Annotated[bool | None, Setting(
        "Read the rows in order and no further than max_steps needs, instead of all of them. They are tokenised onto disk before step 1, checked "
        "by the same gate, and then are ordinary samples.",
        "Memory: that of the shuffle buffer. Speed: a corpus is never read to its end. Quality: shuffling reaches only as far as the buffer.",
        "unset (off); true for data that is larger than the run", ("max_steps", "streaming_multipack_buffer_size", "sample_packing", "val_set_size"),
        "streaming: true")] = None
    streaming_multipack_buffer_size: Annotated[int | None, Field(gt=0), Setting(
        "Rows of the shuffle buffer of a stream, and samples that are packed together.",
        "Quality: a larger buffer mixes better and packs tighter. Memory: that many raw rows.", "10000 (default); 1000-50000",
        ("streaming", "pretraining_dataset", "sample_packing", "shuffle_merged_datasets", "seed"), "streaming_multipack_buffer_size: 5000")] = 10_000
    dataset_prepared_path: Annotated[str | None, Setting(
        "The folder that caches tokenised rows.", "Speed: later starts skip tokenising. A changed input never hits an old cache.",
        "last_run_prepared", ("datasets",), "dataset_prepared_path: last_run_prepared")] = None
    test_datasets: Annotated[list[Dataset] | None, Setting(
        "The held-out rows, as datasets of their own, written like the entries of `datasets`. A folder or Hub dataset is read from its split "
        "test unless `split` says otherwise.", "Those rows are not trained on; val_set_size must then be 0.",
        "unset (val_set_size holds rows out)", ("val_set_size", "eval_sequence_len", "eval_steps", "eval_strategy"),
        "test_datasets: [{path: data/test.jsonl, type: chat_template}]")] = None
    shuffle_before_merging_datasets: Annotated[bool | None, Setting(
        "With several datasets: shuffle (with `seed`) each of them before they are joined.",
        "Quality: matters with shuffle_merged_datasets: false, where the datasets keep their order and their rows should not.", "false",
        ("shuffle_merged_datasets", "seed"), "shuffle_before_merging_datasets: true")] = None
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
    excess_length_strategy: Annotated[Literal["drop", "truncate", "raise"] | None, Setting(
        "What happens to rows that are longer than sequence_len: drop leaves them out, truncate cuts off their end, raise stops at the first.",
        "Quality: what is dropped is not learnt; what is cut is often the end of the answer, and with it the end-of-turn token. Both are "
        "counted.", "drop", ("sequence_len", "min_sample_len", "eval_sequence_len"), "excess_length_strategy: raise")] = None
    min_sample_len: Annotated[int | None, Field(ge=0), Setting(
        "Rows with fewer tokens, prompt and answer together, are left out, and counted.", "Quality: keeps empty and broken rows out.",
        "2 (when unset)", ("sequence_len", "excess_length_strategy"), "min_sample_len: 16")] = None
    eval_sequence_len: Annotated[int | None, Field(gt=0), Setting(
        "sequence_len for the rows of test_datasets. Rows that val_set_size holds out keep sequence_len.",
        "Memory: longer held-out rows can take more than training.", "unset (sequence_len)",
        ("test_datasets", "sequence_len", "excess_length_strategy"), "eval_sequence_len: 4096")] = None
    dataset_exact_deduplication: Annotated[bool | None, Setting(
        "Leave out rows whose tokens and labels are those of an earlier row. Training rows and test_datasets are looked through apart.",
        "Quality: frequent rows are not learnt several times. They are counted.", "false", ("test_datasets", "val_set_size"),
        "dataset_exact_deduplication: true")] = None
    sample_packing: Annotated[bool | None, Setting(
        "Lay several short rows end to end in one row of sequence_len tokens; they do not see each other.",
        "Speed: up to several times faster when rows are much shorter than sequence_len. Quality: none, as long as rows stay apart.",
        "true", ("sequence_len", "pad_to_sequence_len", "micro_batch_size"), "sample_packing: true")] = None
    eval_sample_packing: Annotated[bool | None, Setting(
        "The same for the held-out rows.", "Speed of evaluation; the loss per token is the same.", "as sample_packing",
        ("sample_packing",))] = None
    sample_packing_bin_size: Annotated[int | None, Field(gt=0), Setting(
        "The most samples in one packed row.", "Speed: rows of very short samples stay partly empty when it is low.", "200",
        ("sample_packing", "sequence_len"), "sample_packing_bin_size: 500")] = 200
    sample_packing_group_size: Annotated[int | None, Field(gt=0), Setting(
        "How many samples are packed together; samples of two groups never share a row.",
        "Speed: small groups leave more rows partly empty.", "100000", ("sample_packing", "sample_packing_bin_size"),
        "sample_packing_group_size: 50000")] = 100_000
    sample_packing_sequentially: Annotated[bool | None, Setting(
        "Fill packed rows in the order of the samples, and the next one as soon as a sample does not fit.",
        "Quality: keeps an order that was planned. Speed: more of each row stays empty.", "false", ("sample_packing",),
        "sample_packing_sequentially: true")] = None
    multipack_real_batches: Annotated[bool | None, Setting(
        "How packed rows make a micro-batch. true or unset: micro_batch_size rows of sequence_len tokens. false: one row of micro_batch_size x "
        "sequence_len, in which a sample still has at most sequence_len tokens and sees only itself.",
        "Speed: one long row wastes a little less room. Quality: none; the same samples meet in other batches.", "unset",
        ("sample_packing", "micro_batch_size"), "multipack_real_batches: false")] = None
    curriculum_sampling: Annotated[bool | None, Setting(
        "Take the rows in their stored order, the same in every epoch, instead of shuffling them. Several datasets are still shuffled when they are "
        "merged unless shuffle_merged_datasets is false. Packed rows stand where their samples stood on average; with "
        "sample_packing_sequentially the order is kept exactly.",
        "Quality: lets easy rows come before hard ones; on rows in no order it only loses randomness.", "unset (off)",
        ("shuffle_merged_datasets", "sample_packing_sequentially", "seed"), "curriculum_sampling: true")] = None
    pad_to_sequence_len: Annotated[bool | None, Setting(
        "Fill every batch up to sequence_len.",
        "Memory and time become the same in every step; on a CPU the padding is wasted time.", "true with packing on a GPU",
        ("sequence_len", "sample_packing"), "pad_to_sequence_len: true")] = None
    train_on_inputs: Annotated[bool, Setting(
        "Let the prompt carry loss too, not only the answer.", "Quality: the model also learns to write questions; rarely wanted.",
        "false", ("datasets",), "train_on_inputs: false")] = False
    dataset_num_proc: Annotated[int | None, Field(gt=0), Setting(
        "How many processes tokenise. Small data is tokenised without any.", "Speed of preparation, and its memory; none on what is learnt.",
        "unset (all cores)", ("dataset_prepared_path",), "dataset_num_proc: 8")] = None

    @model_validator(mode="before")
    @classmethod
    def _corpus(cls, values: Any) -> Any:
        """With pretraining_dataset `datasets` need not be written; the path of its first entry stands there, so that the data has a name."""
        corpus = values.get("pretraining_dataset") if isinstance(values, dict) else None
        if not isinstance(corpus, list) or not corpus or not isinstance(corpus[0], dict) or values.get("datasets"):
            return values
        return {**values, "datasets": [{"path": corpus[0].get("path"), "type": "pretrain"}]}
