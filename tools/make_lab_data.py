#!/usr/bin/env python3
"""Write the bundled lab data: spoken-style requests, each answered by one JSON call.

    python tools/make_lab_data.py            write train.jsonl and held_out.jsonl
    python tools/make_lab_data.py --check    fail unless the files are what would be written

The task: a household request in plain words becomes one line of strict JSON,

    wake me at half past six in the morning on weekdays
    {"call": "alarm", "time": "6:30 am", "days": "weekdays"}

There are eight calls with two or three arguments each, in a fixed order. Slots are copied from
the request (names, cities, texts) or normalised (times to "6:30 am", spoken amounts to numbers,
"off" to level 0).

train.jsonl also has the plain questions of lab_plain.txt with prose answers and no system
message: without them the tuned model answers everything with a call.

Every phrase, name and value was written for this lab. The output depends only on this file, its
SEED and lab_plain.txt; nothing but the standard library is used.

What is held out. Each slot has values that never occur in train.jsonl (some names, cities,
rooms, tasks, texts, music, dishes, units, amounts, weekdays and clock times), and each call has
two phrasings that never do. Of the ten rows held out for one call
  * three use such a phrasing, with known slot values,
  * four use a known phrasing, with at least one such slot value,
  * three use known phrasings and values, in a combination that train.jsonl does not have.
`check` below verifies that no request occurs twice in or across the files, that no held-out
answer occurs in train.jsonl, and that no held-out value or phrasing got into it.
"""

import argparse
import json
import random
import re
import sys
from pathlib import Path

SEED = 20
TRAIN_PER_CALL = 77
HELD_PER_CALL = {"phrasing": 3, "value": 4, "combination": 3}
SYSTEM = "Answer with one JSON call."
FOLDER = Path(__file__).resolve().parent.parent / "src" / "tunelab" / "workflow" / "lab_files"
OPENERS = ["", "", "", "", "please ", "hey, ", "ok, "]
NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def split(text):
    return [part.strip() for part in text.split("|")]


def values(text):
    """{what is said: what is answered} of "said | said | said = answered"."""
    pairs = [part.split(" = ") for part in split(text)]
    return {pair[0]: int(pair[-1]) if pair[-1].isdigit() else pair[-1] for pair in pairs}


def numbers(said, counts):
    return {said.format(count): count for count in counts}


def clock(times):
    """Ways to say the times "6:30 am": {said: time}."""
    said = {}
    for time in times:
        hour, minute, half = re.split("[: ]", time)
        part = "morning" if half == "am" else "afternoon" if int(hour) < 6 else "evening"
        said[time.replace(":00", "")] = time
        words = {"00": "", "15": "quarter past ", "30": "half past "}
        if minute in words:
            said[f"{words[minute]}{NUMBER_WORDS[int(hour)]} in the {part}"] = time
    return said


# Slots: (values for both files, values for held_out.jsonl alone).
# Times held out are whole times of day; their hours are seen in training with other minutes.
HELD_TIMES = split("6:15 am | 7:30 am | 8:00 am | 9:45 am | 2:30 pm | 5:15 pm | 6:00 pm | 8:30 pm | 9:15 pm")
HOURS = [f"{hour}:{{}} am" for hour in range(5, 12)] + [f"{hour}:{{}} pm" for hour in range(1, 12)]
ALL_TIMES = [hour.format(minute) for hour in HOURS for minute in ("00", "15", "30", "45")]
TIME = clock(time for time in ALL_TIMES if time not in HELD_TIMES), clock(HELD_TIMES)
ROOM = (
    values("kitchen | bedroom | bathroom | hall | garage | office | attic | cellar | nursery | living room"
           " | dining room | guest room | laundry room | playroom"),
    values("library | workshop | studio | pantry | tea room"),
)
WEEKDAYS = (
    values("tomorrow | at the weekend = weekend | on Monday = Monday | on Tuesday = Tuesday"
           " | on Thursday = Thursday | on Friday = Friday | on Sunday = Sunday"),
    values("on Wednesday = Wednesday | on Saturday = Saturday"),
)
ALARM_DAYS = WEEKDAYS[0] | values("on weekdays = weekdays | every day = daily"), WEEKDAYS[1]
WEATHER_DAYS = WEEKDAYS[0] | values("today | tonight"), WEEKDAYS[1]
MINUTES = (
    numbers("{} minutes", [2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 20, 25, 35, 40, 50, 55, 75])
    | values("five minutes = 5 | ten minutes = 10 | twenty minutes = 20 | a quarter of an hour = 15"
             " | half an hour = 30 | an hour = 60"),
    numbers("{} minutes", [9, 14, 28, 45, 65]),
)
LABEL = (
    values("pasta | rice | bread | tea | soup | pizza | laundry | cake | potatoes | chicken | ham | dough"
           " | beans | stew | sauce | face mask"),
    values("lentils | coffee | pie | sprinkler | risotto"),
)
LEVEL = (
    values("off = 0 | on = 100 | to half = 50 | all the way up = 100")
    | numbers("to {} percent", [5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90]),
    numbers("to {} percent", [25, 35, 55, 65, 85]),
)
TASK = (
    values("water the plants | call the bank | feed the cat | pay the rent | take out the bins"
           " | book the dentist | buy stamps | pick up the parcel | charge the camera | walk the dog"
           " | send the invoice | clean the filter | return the books | pack my bag | check the tyres"
           " | order new glasses | iron a shirt | lock the shed | renew my passport | defrost the fish"),
    values("call the plumber | buy flowers | sweep the stairs | sign the contract | empty the dryer"
           " | cancel the order"),
)
MUSIC = (
    values("jazz | slow jazz | piano music | old blues | folk songs | soft rock | disco | opera | reggae"
           " | string quartets | film music | country songs | techno | birdsong | guitar music"
           " | choir music | sea shanties"),
    values("tango | harp music | lullabies | funk | brass bands"),
)
CITY = (
    values("Oslo | Madrid | Vienna | Lisbon | Berlin | Prague | Dublin | Athens | Tokyo | Cairo | Boston"
           " | Chicago | Toronto | Sydney | Geneva | Krakow | Nairobi | Helsinki | Naples | Denver"),
    values("Rome | Lima | Hamburg | Seattle | Warsaw | Kyoto"),
)
NAME = (
    values("Anna | Ben | Clara | David | Emma | Felix | Grace | Henry | Ines | Jonas | Karin | Leo | Maria"
           " | Nils | Olga | Peter | Rosa | Simon | Tina | Victor"),
    values("Sofia | Martin | Julia | Oscar | Helen"),
)
TEXT = (
    values("dinner is ready | I am running late | the train is on time | the keys are under the mat"
           " | the meeting moved to noon | I found your scarf | we are out of milk | the car is fixed"
           " | I will be home soon | the tickets are booked | the shop is closed | I left the door open"
           " | the parcel has come | we won the match | the heating is broken | I can't come today"
           " | the cake is in the oven | I am at the station"),
    values("the bus is late | I lost my phone | the dog is asleep | the room is free | we need more bread"
           " | I am on my way"),
)
AMOUNT = (
    numbers("{}", [2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 20, 24, 30, 36, 40, 50, 60, 75, 80, 90, 100, 120, 150,
                   200, 250, 400, 500]),
    numbers("{}", [7, 16, 22, 45, 85, 130, 350]),
)
KINDS_OF_UNIT = [
    {"miles", "metres", "feet", "inches", "yards"},
    {"pounds", "grams", "kilos", "ounces", "tonnes"},
    {"litres", "gallons", "pints"},
]
UNIT = (
    values("miles | metres | feet | inches | pounds | grams | kilos | ounces | litres | gallons | pints"),
    values("yards | tonnes"),
)

# call -> slots in the answer's order, phrasings for both files, phrasings for held_out.jsonl alone.
CALLS = {
    "timer": ({"minutes": MINUTES, "label": LABEL},
        split("set a timer for {minutes} for the {label} | start a {label} timer for {minutes}"
              " | {minutes} on the clock for the {label} | count down {minutes} for the {label}"
              " | the {label} needs {minutes}, start a timer | time the {label}, {minutes}"
              " | let me know when the {label} has had {minutes}"),
        split("give the {label} {minutes} and then beep | I need a {label} timer, {minutes}")),
    "alarm": ({"time": TIME, "days": ALARM_DAYS},
        split("wake me at {time} {days} | set an alarm for {time} {days} | alarm {days} at {time}"
              " | I have to get up at {time} {days} | get me out of bed at {time} {days}"
              " | {days} I want to be up by {time} | make sure I am awake at {time} {days}"),
        split("ring the alarm at {time} {days} | {days} wake me up at {time}")),
    "light": ({"room": ROOM, "level": LEVEL},
        split("turn the {room} lights {level} | switch the lights in the {room} {level}"
              " | put the {room} lamp {level} | lights {level} in the {room}"
              " | I want the {room} light {level} | in the {room}, turn the lamp {level}"),
        split("{room} lights {level} | can you set the {room} lamp {level}")),
    "reminder": ({"task": TASK, "time": TIME},
        split("remind me to {task} at {time} | at {time} remind me to {task} | note for {time}: {task}"
              " | don't let me forget to {task} at {time} | I need to {task} at {time}, remind me"
              " | I must {task} at {time}, don't let me forget"),
        split("set a reminder to {task} at {time} | {time}, tell me to {task}")),
    "music": ({"play": MUSIC, "room": ROOM},
        split("play {play} in the {room} | put on some {play} in the {room} | in the {room}, play {play}"
              " | I'd like to hear {play} in the {room} | let's have {play} in the {room}"
              " | start {play} on the {room} speaker | how about some {play} for the {room}"),
        split("fill the {room} with {play} | {play} on the {room} speaker")),
    "weather": ({"city": CITY, "day": WEATHER_DAYS},
        split("what is the weather like in {city} {day} | will it rain in {city} {day}"
              " | how warm will it be in {city} {day} | weather for {city} {day}"
              " | do I need a coat in {city} {day} | I'm in {city} {day}, how is the weather"
              " | is it going to be windy {day} in {city}"),
        split("should I take an umbrella to {city} {day} | {day} in {city}, sun or rain")),
    "message": ({"to": NAME, "text": TEXT},
        split("tell {to} that {text} | text {to}: {text} | send {to} a message: {text}"
              " | let {to} know that {text} | message for {to}, {text} | write to {to} that {text}"),
        split("say to {to} that {text} | {to} should know that {text}")),
    "convert": ({"amount": AMOUNT, "from": UNIT, "to": UNIT},
        split("convert {amount} {from} to {to} | how many {to} are {amount} {from}"
              " | what is {amount} {from} in {to} | change {amount} {from} into {to}"
              " | I have {amount} {from}, what is that in {to} | give me {amount} {from} in {to}"
              " | in {to}, how much is {amount} {from}"),
        split("turn {amount} {from} into {to} | {amount} {from} make how many {to}")),
}


def sensible(answer):
    """Units convert to another unit of their kind."""
    if answer["call"] != "convert":
        return True
    units = {answer["from"], answer["to"]}
    return len(units) == 2 and any(units <= kind for kind in KINDS_OF_UNIT)


def draw(rng, call, purpose):
    """One (request, answer); purpose is "train" or a key of HELD_PER_CALL."""
    slots, phrasings, held_phrasings = CALLS[call]
    phrasing = rng.choice(held_phrasings if purpose == "phrasing" else phrasings)
    new = {name for name in slots if rng.random() < 0.5} or {rng.choice(list(slots))}
    said, answer = {}, {"call": call}
    for name, (known, held) in slots.items():
        table = held if purpose == "value" and name in new else known
        said[name] = rng.choice(list(table))
        answer[name] = table[said[name]]
    return rng.choice(OPENERS) + phrasing.format(**said), answer


def plain_rows():
    """(question, prose answer) for each line "question = answer" of lab_plain.txt."""
    text = Path(__file__).with_name("lab_plain.txt").read_text(encoding="utf-8")
    return [tuple(line.replace("\\n", "\n").split(" = ", 1)) for line in text.splitlines()]


def build():
    """(train, held out): lists of (request, answer)."""
    rng = random.Random(SEED)
    train, held, requests, held_answers = [], [], set(), set()
    for call in CALLS:
        for purpose, left in [*HELD_PER_CALL.items(), ("train", TRAIN_PER_CALL)]:
            while left:
                request, answer = draw(rng, call, purpose)
                if not sensible(answer) or request in requests or json.dumps(answer) in held_answers:
                    continue
                requests.add(request)
                if purpose != "train":
                    held_answers.add(json.dumps(answer))
                (train if purpose == "train" else held).append((request, answer))
                left -= 1
    train += plain_rows()
    rng.shuffle(train)
    rng.shuffle(held)
    return train, held


def check(train, held):
    """Raise AssertionError unless the two lists keep the docstring's promises."""
    requests = [request.casefold() for request, _ in train + held]
    assert len(set(requests)) == len(requests), "a request occurs twice"
    seen = {json.dumps(answer) for _, answer in train}
    assert not any(json.dumps(answer) in seen for _, answer in held), "a held-out answer is in train"
    assert len(train) >= 640 and len(held) >= 80, (len(train), len(held))
    for request, answer in train:
        if isinstance(answer, str):  # a plain row
            continue
        slots, _, held_phrasings = CALLS[answer["call"]]
        for name, (known, alone) in slots.items():
            assert not set(known.values()) & set(alone.values()), name
            assert answer[name] not in alone.values(), (request, name)
        one_of = {name: f"(?:{'|'.join(map(re.escape, known))})" for name, (known, _) in slots.items()}
        for phrasing in held_phrasings:
            pattern = phrasing.format(**one_of)
            assert not re.fullmatch(f"(?:{'|'.join(OPENERS)}){pattern}", request), (request, phrasing)


def lines(rows):
    out = []
    for request, answer in rows:
        said = [("user", request), ("assistant", answer)]
        if isinstance(answer, dict):
            said = [("system", SYSTEM), ("user", request), ("assistant", json.dumps(answer))]
        out.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in said]}) + "\n")
    return "".join(out)


def main():
    parser = argparse.ArgumentParser(description="Write the bundled lab data.")
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    only_check = parser.parse_args().check
    train, held = build()
    check(train, held)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, rows in [("train.jsonl", train), ("held_out.jsonl", held)]:
        path, text = FOLDER / name, lines(rows)
        if not only_check:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what this script writes")
        print(f"{name}: {len(rows)} rows{', as written' if only_check else ''}")


if __name__ == "__main__":
    main()
