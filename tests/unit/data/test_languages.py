"""The light guess of a language: right for ordinary sentences, silent where there is nothing to go by."""

from __future__ import annotations

import pytest

from tunelab.data.languages import UNSURE, language_of

SENTENCES = {
    "English": "Sure! Here is a Python function that does what you want:", "German": "Das kann ich dir gerne erklären, wenn du willst.",
    "French": "Bien sûr, voici une liste des meilleurs livres.", "Spanish": "Claro, aquí tienes una lista de los mejores libros.",
    "Italian": "Certo, ecco una lista dei migliori libri che puoi leggere.", "Portuguese": "A capital da França é Paris.",
    "Dutch": "Ik weet niet of je gelijk hebt.", "Swedish": "Jag vet inte om du har rätt, men det är bra.",
    "Danish": "Jeg ved ikke, om du har ret, hvad siger du?", "Norwegian": "Jeg vet ikke hva du mener, men det er bare noe.",
    "Finnish": "Ranskan pääkaupunki on Pariisi ja se on kaunis.", "Polish": "Stolicą Francji jest Paryż, który leży nad Sekwaną.",
    "Czech": "Hlavní město Francie je Paříž, která leží na Seině.", "Hungarian": "Nem tudom, hogy igazad van, de ez nagyon jó.",
    "Turkish": "Bu konuda daha fazla bilgi için bana sor.", "Vietnamese": "Tôi không biết bạn có đúng không.",
    "Indonesian": "Saya tidak tahu apakah kamu benar, tetapi ini bisa.", "Russian": "Столица Франции — это Париж, и он стоит на Сене.",
    "Ukrainian": "Столиця Франції — це Париж, і він стоїть на Сені.", "Arabic": "عاصمة فرنسا هي باريس التي تقع على نهر السين.",
    "Persian": "پایتخت فرانسه پاریس است که در کنار رود سن قرار دارد.", "Hindi": "फ्रांस की राजधानी पेरिस है।",
    "Japanese": "フランスの首都はパリです。", "Chinese": "你可以使用 Python 的 pandas library 来完成。", "Korean": "프랑스의 수도는 파리입니다.",
    "Greek": "Η πρωτεύουσα της Γαλλίας είναι το Παρίσι.", "Thai": "เมืองหลวงของฝรั่งเศสคือปารีส"}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_known(language: str) -> None:
    assert language_of(SENTENCES[language]) == language
    assert language_of("🙂 " + SENTENCES[language] * 20) == language


@pytest.mark.parametrize("text", ["", "42", "Paris", "x = foo(bar)\nprint(x)\nreturn 3", "🙂🙂", "12.5 %", "\ud800"])
def test_nothing_to_go_by_is_undetermined(text: str) -> None:
    assert language_of(text) == UNSURE
