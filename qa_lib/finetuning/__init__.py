"""A chosen setting, trained on."""

from qa_lib.finetuning.finetuning import FineTuned, finetune

__all__ = ["FineTuned", "finetune"]
