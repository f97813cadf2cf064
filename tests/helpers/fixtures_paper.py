"""Small data sets in the exact schemas of Tables 3 to 5, to lie in a folder for data_dir=DIR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rope_eval.protocols.datasets import SOURCES

Rows = list[dict[str, Any]]

ROWS: dict[str, Rows] = {
    "lambada": [
        {"text": "The gate was shut, so Mira climbed over the gate"},
        {"text": "He had one oar and a boat; he lost the oar and kept the boat"},
    ],
    "super_glue/boolq": [
        {
            "question": "is the lamp in the tower lit",
            "passage": "The lamp in the tower burns all night.",
            "idx": 0,
            "label": 1,
        },
        {
            "question": "do the ferries run in winter",
            "passage": "From November on the ferries lie in the dock.",
            "idx": 1,
            "label": 0,
        },
    ],
    "super_glue/cb": [
        {"premise": "Ada sold her bike.", "hypothesis": "Ada has her bike", "idx": 0, "label": 1},
        {"premise": "Ada sold her bike.", "hypothesis": "Ada sold a thing", "idx": 1, "label": 0},
        {"premise": "Ada sold her bike.", "hypothesis": "It was blue", "idx": 2, "label": 2},
    ],
    "super_glue/copa": [
        {
            "premise": "The glass broke.",
            "choice1": "It fell on the stones.",
            "choice2": "It was full.",
            "question": "cause",
            "idx": 0,
            "label": 0,
        }
    ],
    "super_glue/multirc": [
        {
            "paragraph": "Tom walked to the mill. He carried two sacks.",
            "question": "What did Tom carry?",
            "answer": answer,
            "idx": {"paragraph": 0, "question": 0, "answer": i},
            "label": i,
        }
        for i, answer in enumerate(("A ladder", "Two sacks"))
    ],
    "super_glue/rte": [
        {"premise": "All ten boats came back.", "hypothesis": "A boat came.", "idx": 0, "label": 0},
        {"premise": "All ten boats came back.", "hypothesis": "One sank.", "idx": 1, "label": 1},
    ],
    "super_glue/record": [
        {
            "passage": "Oslo and Bergen are joined by a railway.\n@highlight\nThe line is old",
            "query": "The train leaves @placeholder in the east",
            "entities": ["Oslo", "Bergen"],
            "answers": ["Oslo", "the city of Oslo"],
            "idx": {"passage": 0, "query": 0},
        }
    ],
    "super_glue/wic": [
        {
            "word": "bank",
            "sentence1": "They sat on the bank of the stream.",
            "sentence2": "The bank lends money.",
            "start1": 16,
            "start2": 4,
            "end1": 20,
            "end2": 8,
            "idx": 0,
            "label": 0,
        }
    ],
    "super_glue/wsc": [
        {
            "text": "Nell thanked Ruth because she had helped.",
            "span1_index": 2,
            "span2_index": 4,
            "span1_text": "Ruth",
            "span2_text": "she",
            "idx": 0,
            "label": 1,
        }
    ],
    "super_glue/axb": [
        {"sentence1": "No dog barked.", "sentence2": "A dog barked.", "idx": 0, "label": 1}
    ],
    "super_glue/axg": [
        {"premise": "The cook met the smith.", "hypothesis": "They met.", "idx": 0, "label": 0}
    ],
    "hellaswag": [
        {
            "ind": 3,
            "activity_label": "Rowing",
            "ctx_a": "A man sits in a boat.",
            "ctx_b": "he",
            "ctx": "[header] How to row [title] Begin. A man sits in a boat. he",
            "endings": ["takes the oars.", "eats the boat.", "is a tree.", "sings to paint."],
            "source_id": "own~1",
            "split": "val",
            "split_type": "indomain",
            "label": "0",
        }
    ],
    "piqa": [
        {"goal": "dry a wet book", "sol1": "Put it in a lake.", "sol2": "Air it.", "label": 1}
    ],
    "winogrande": [
        {
            "sentence": "The chest did not fit in the cart because the _ was too small.",
            "option1": "chest",
            "option2": "cart",
            "answer": "2",
        }
    ],
    "openbookqa": [
        {
            "id": "7-1",
            "question_stem": "Ice becomes water when it is",
            "choices": {"text": ["warmed", "painted", "hidden", "sold"], "label": list("ABCD")},
            "answerKey": "A",
        },
        {
            "id": "7-2",
            "question_stem": "A shadow needs",
            "choices": {"text": ["rain", "sound", "light", "salt"], "label": list("ABCD")},
            "answerKey": "C",
        },
    ],
    "nq_open": [{"question": "who keeps the lighthouse", "answer": ["Anna Holm", "Holm"]}],
    "triviaqa": [{"question": "Which river runs through Ely", "answer": ["Great Ouse", "Ouse"]}],
    "truthfulqa": [
        {
            "question": "What happens if you swallow a coin?",
            "choices": ["It passes.", "You turn to brass.", "You float.", "It speaks."],
            "label": 0,
        }
    ],
    "arc_easy": [
        {
            "id": "own_1",
            "question": "Which of these is a metal?",
            "choices": {"text": ["iron", "wood", "wool", "air"], "label": list("ABCD")},
            "answerKey": "A",
        },
        {
            "id": "own_2",
            "question": "Which is a liquid?",
            "choices": {"text": ["stone", "oil", "sand"], "label": list("ABC")},
            "answerKey": "B",
        },
        {
            "id": "own_3",
            "question": "Which is the largest?",
            "choices": {"text": ["ant", "cat", "whale", "hen"], "label": list("1234")},
            "answerKey": "3",
        },
    ],
    "arc_challenge": [
        {
            "id": "own_4",
            "question": "What moves a sailing boat?",
            "choices": {"text": ["salt", "wind", "sand", "light"], "label": list("ABCD")},
            "answerKey": "B",
        }
    ],
    "leval/gsm100": [
        {
            "instructions": ["Question: A hen lays 2 eggs a day. How many in 9 days?\n\n"],
            "outputs": ["1,018"],
            "input": "Question: 1 + 1?\nThe answer is 2.\n" * 4,
            "evaluation": "exam",
        }
    ],
    "leval/tpo": [
        {
            "instructions": ["what is the talk about\nA. tides\nB. bees\nC. bread\nD. rope"],
            "outputs": ["D"],
            "input": "today we look at how rope is made from hemp. " * 6,
            "source": "own",
            "evaluation": "exam",
        }
    ],
    "leval/topic_retrieval_longchat": [
        {
            "input": "USER: I would like to discuss the topic of old maps.\nASSISTANT: Gladly!\n"
            * 3,
            "instructions": [f"What is the {n} topic we discussed?" for n in ("first", "second")],
            "outputs": ["Old maps", "Sea birds"],
            "source": "own",
            "evaluation": "exam",
        }
    ],
    "leval/quality": [
        {
            "instructions": ["Where did Ada go?\n\n (A) Home \n (B) To sea \n (C) Away \n (D) Up"],
            "outputs": ["(B) To sea"],
            "input": "Ada packed her bag and went to sea. " * 6,
            "source": "own",
            "evaluation": "exam",
        }
    ],
    "leval/coursera": [
        {
            "instructions": ["Question 1. Which are tools?\nA. saw\nB. fog\nC. axe\nD. rain"],
            "outputs": ["AC"],
            "input": "In this course we use a saw and an axe. " * 6,
            "source": "own",
            "evaluation": "exam",
        }
    ],
}


def _mmlu(name: str) -> Rows:
    subject, _, split = name.removeprefix("mmlu/").rpartition("_")
    about = subject.replace("_", " ")
    return [
        {
            "question": f"What is {number} in {about}?",
            "subject": subject,
            "choices": [str(number + k) for k in range(4)],
            "answer": number % 4,
        }
        for number in range(5 if split == "dev" else 1)
    ]


def write(folder: Path, *, leave_out: tuple[str, ...] = ()) -> Path:
    """Write every data set but those left out, and return the folder."""
    for name in SOURCES:
        if name in leave_out:
            continue
        rows = ROWS[name] if name in ROWS else _mmlu(name)
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
