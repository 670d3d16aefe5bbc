"""STOP, START and HELP, clear wishes and wrong numbers, in three languages, are obeyed by rule; what only sounds like them is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.messages.keywords import Keyword, KeywordHit, keyword

STOPS = [
    "Please remove me from all future messages", "I want these messages to stop", "make these texts stop", "please cancel my text messages", "Stop bothering me",
    "ya no me manden nada", "no me interesa recibir mensajes", "quiero que dejen de mandarme mensajes", "把我的号码删掉", "别再联系我了", "不要再给我发消息了",
    "stop", "STOP.", " Stop ", "STOPALL", "Stop!!", "ARRET", "CANCEL", "quit", "please stop texting me", "remove me from this list", "leave me alone",
    "quit sending me messages", "take my number off your list please", "dont text me again", "no more texts", "I want to opt out", "no me escriban mas",
    "停止", "退订", "stop please", "please stop", "Please, STOP!", "STOP MESSAGES", "stop texting", "stop texting me", "pls stop txting me", "stop all",
    "stop all messages", "No more messages please", "take me off this list", "Take me off your list now", "quit sending me these",
    "quit sending me this stuff", "please quit texting me", "stop sending me messages", "STOP NOW", "stop sending these texts", "cancel these messages",
    "end messages", "i dont want these messages anymore", "I don't want any more texts from you", "i do not want to receive text messages",
    "please do not text me again", "dont text me anymore", "Don't contact me again.", "do not message this number", "never text me again",
    "unsubscribe me please", "remove me from your list", "please remove my number", "delete my number from your system", "please leave me alone already",
    "i want to opt out", "I'd like to unsubscribe from this", "opt me out", "can you stop texting me?", "could you please take me off this list?",
    "I asked you to stop texting me", "I told you guys to quit messaging me", "im fine now. stop texting me please", "how do i opt out",
    "get me off this list", "unenroll me", "I revoke my consent", "lose my number", "i said stop", "yall need to stop texting me",
    "I dont want you to text me anymore", "this is annoying stop sending messages", "turn off these notifications", "please stop contacting me",
    "stop writing to me", "stop, please stop", "STOP texting me my leg is swollen", "ok thats enough no more messages", "no, stop texting me",
    "hey can u quit texting me", "i dont know who this is stop texting me", "I no longer wish to receive these messages",
    "not interested, take me off the list", "I don't need these texts any more", "no longer text me", "quit with the texts",
    "no quiero recibir más mensajes", "No quiero más mensajes", "deje de escribirme", "dejen de mandarme mensajes", "por favor deje de enviarme textos",
    "borre mi número", "borren mi numero por favor", "no me escriban más", "no me manden más mensajes", "ya no me escriba", "no me contacten",
    "quiero darme de baja", "denme de baja", "déjenme en paz", "no, deje de escribirme", "quiero dejar de recibir mensajes", "paren los mensajes",
    "pare por favor", "ya no quiero sus mensajes", "quiten mi número de la lista", "no deseo recibir estos mensajes", "bórreme de la lista",
    "sáqueme de su lista", "no quiero que me escriban", "No vuelvan a escribirme", "basta de mensajes", "pueden dejar de escribirme?",
    "cancele los mensajes", "no mas mensajes", "ya no me manden textos por favor", "请不要再给我发短信", "别再发了", "不要再联系我", "不要给我发短信了", "请停止发短信", "别发短信了",
    "我不想再收到你们的短信", "请不要再打扰我", "停止发送", "请删除我的号码", "把我从名单上删除", "退订短信", "不要再发短信给我", "我不需要这些短信", "取消短信", "别再给我发信息了", "請不要再給我發短信", "別再發了",
    "能不能不要再给我发短信？", "你们别再发了", "请勿再发", "拒绝接收短信", "不要再骚扰我", "请停止", "我不想收到这些消息了", "以后别再发短信了",
]  # fmt: skip
WRONG_NUMBERS = [
    "wrong number", "Wrong number.", "wrong person, remove this number", "you have the wrong number", "sorry you have the wrong number",
    "I think you have the wrong person", "You've got the wrong number please stop texting", "no soy esa persona", "打错了", "this is the wrong number",
    "im not that person", "I am not the person you are looking for", "there is no one here by that name", "nobody by that name here",
    "i dont know that person", "This number doesn't belong to him", "this is not her phone", "I just got this number last week, you have the wrong person",
    "wrong number stop texting me", "you texted the wrong number", "I'm not the patient", "número equivocado", "tiene el número equivocado",
    "se equivocó de número", "no soy el paciente", "persona equivocada", "no conozco a esa persona", "este número ya no es de esa persona",
    "aquí no hay nadie con ese nombre", "你打错了", "你们发错人了", "你找错人了", "发错了", "我不是这个人", "我不是病人本人", "号码错了", "这不是她的号码", "我不认识这个人", "您打错电话了",
    "your texting the wrong person",
]  # fmt: skip
OTHERS = [
    "thanks for the messages, no more questions", "stop questions", "停了", "血停了", "停止了", "just call me", "do i need to stop texting you", "please stop this pain",
    "my doctor said quit the aspirin", "no quiero molestarlos con mensajes", "no tengo mas preguntas", "不用了谢谢", "我要取消明天的预约",
    "should I stop taking my pills?", "stop taking my pills?", "should I stop texting and driving lol", "can you take me off the waiting list",
    "the bleeding will not stop", "I want this pain to end", "help me understand the pills", "stop sending the blue pills", "start of the week is fine",
    "yes", "the infection is gone", "when do I stop the drops", "it hurts when I quit moving", "the bleeding won't stop", "should I stop the pills",
    "stop by the clinic", "don't stop texting me", "can't stop coughing", "no quiero parar el tratamiento", "please don't ever stop texting me",
    "I don't want you to stop texting me", "I never asked you to stop sending messages", "should I stop taking the pills?", "I want this pain to stop",
    "make it stop please", "the nausea stops me from eating", "can I stop the antibiotic now", "I had to stop walking", "stop me if I'm wrong",
    "will you stop texting me when I am better?", "my ex won't stop texting me", "he keeps texting me", "I need to stop smoking", "i quit smoking",
    "please remove the stitches", "can they remove my drain", "take me off oxygen", "the doctor took me off the list for surgery",
    "I don't want to live anymore", "I don't want to miss any messages", "I don't want the messages to stop", "no more pain", "no more bleeding",
    "no more", "I got no more messages from you", "I didn't get any texts yesterday", "stop texting me so early", "please don't text me at night",
    "don't text me while I'm at work", "dont call me an ambulance", "my kids leave me alone all day", "they leave me alone all day",
    "the pain won't leave me alone", "I'm afraid to be left alone", "I can't text well", "stop in the middle of the night to pee",
    "quit taking the blue ones", "I stopped the water pill", "the pharmacy will not stop sending refills", "delete the last answer", "remove the bandage?",
    "end of the week", "can I cancel my appointment", "I want to cancel my visit tomorrow", "did you stop sending messages?",
    "why did you stop texting me", "are you going to stop sending the messages", "leave me a message", "please contact me", "contact me at this number",
    "text me again tomorrow", "never mind", "I do not want to take this medicine any more", "I don't want surgery", "my heart stops and starts",
    "if you stop texting me I will worry", "I don't need more pills", "enough", "how do I stop the bleeding", "how do I stop nausea", "no dejo de toser",
    "no puedo dejar de vomitar", "el sangrado no para", "¿debo dejar de tomar la medicina?", "no deje de escribirme", "no quiero que dejen de escribirme",
    "no quiero perder mensajes", "no quiero tomar más pastillas", "quiero parar el dolor", "el dolor no me deja en paz", "no me molesta",
    "cancele mi cita", "me dieron de alta", "saqueme de aqui", "quíteme el dolor", "no quiero vivir", "no quiero mas dolor", "no me escriban de noche",
    "dejé de sangrar", "para el dolor tomo ibuprofeno", "mi hija dejó de escribirme", "no quiero parar", "血止不住", "不要停止给我发短信", "不用给我打针", "我停止吃药了",
    "要不要停药", "不要发烧就好", "别发烧了", "疼得停不下来", "为什么不再给我发短信了", "不要联系我的家人", "不想活了", "我不想吃药了", "可以停药吗", "你们会停止发短信吗", "取消预约", "不发烧了", "湿疹不要再发了", "止痛药不要了",
    "我收不到短信", "my text says stop", "the text stop me reading", "I can't stop texting my daughter all night", "please don't stop these messages",
    "please do not stop the texts", "I'd hate for these messages to stop", "are these messages going to stop", "the messages stopped",
    "I hope you don't stop the check ins", "quit drinking", "I want to end my life", "please end this", "stop the pump?", "they want to stop my chemo",
    "stop my blood thinner before the tooth is pulled?", "i want to cancel chemo", "take me off this medicine", "please take me off this drug list",
    "get me off these pills", "remove my stitches please", "remove me from the ventilator", "please remove my number 2 bandage", "I deleted the message",
    "drop my number 10 blade", "sms me please", "no more coughing", "no more vomiting thank god", "I don't need to text my nurse",
    "I dont want to be contacted by the pharmacy", "I don't want texts from the pharmacy", "don't send me to the ER", "dont send me more pills",
    "do not text my wife", "stop texting my wife", "leave me alone with the baby i cant cope", "i feel like everyone should leave me alone",
    "no quiero que me operen", "deje de tomar la pastilla", "dejen de darme morfina", "pare de sangrar", "no me llamen loca", "ya no me duele",
    "no más dolor", "quite el yeso", "me quiero morir", "no me envien al hospital", "no me manden a casa", "dame de baja laboral",
    "necesito la baja laboral", "quiero que me den de alta", "别担心", "别给我打电话", "不用再来医院了吗", "不要再吃了", "停药了", "不要再发作了", "我不想再住院", "别发脾气", "取消手术",
    "不需要止痛药", "别发愁", "that was the wrong number, I meant 7", "I typed the wrong number it was 98.6", "I gave you the wrong number, my weight is 182",
    "is this the wrong number?", "wrong number of pills", "they gave me the wrong number of pills", "I called the wrong number for the pharmacy earlier",
    "do I have the wrong number for the clinic?", "I'm not that sick", "I am not the same person since surgery", "I am not well", "this is not good",
    "this is not the right medicine", "they gave me the wrong medicine", "the nurse called the wrong patient in the waiting room", "I took the wrong pill",
    "this number is high for me", "me equivoqué de pastilla", "anoté el número equivocado de la presión", "no soy diabético", "no soy la misma persona",
    "me dieron la medicina equivocada", "护士给我打错了针", "我吃错药了", "药打错了吗", "我不是很疼", "这不是我的药", "血压的数字写错了", "我不认识这个药",
]  # fmt: skip

LANGUAGES = {
    "en": [
        "English", "English please", "in english, please", "Can you text me in English?", "ingles", "inglés por favor", "en inglés", "英文", "请用英文", "说英语",
        "I need English", "english is better", "do you speak english?", "can we switch to English",
    ],
    "es": [
        "español", "Español!", "espanol", "Spanish", "SPANISH PLEASE", "español por favor", "in spanish please", "habla español?", "¿Hablan español?", "en español",
        "En Español, por favor.", "¿Me puede escribir en español?", "hola, español por favor gracias", "prefiero español", "solo español", "solo hablo español",
        "I speak Spanish", "do you speak Spanish", "hablo castellano", "mensajes en español", "se habla español?", "请说西班牙语", "can I text in spanish?",
    ],
    "zh": [
        "中文", "中文。", "简体中文", "简体", "繁體中文", "中文 please", "说中文", "请说中文", "请用中文", "請用中文", "可以说中文吗？", "能用中文吗", "我要中文", "我想用中文", "中文，谢谢",
        "请改成中文", "切換到中文", "普通话", "chinese", "Chinese please", "in Mandarin please", "你会说中文吗", "中文版", "汉语",
    ],
}  # fmt: skip
NO_WISH_FOR_A_LANGUAGE = [
    "my english is bad but my chest hurts", "I don't speak english", "no speak english", "no hablo inglés", "no entiendo inglés", "sorry for my english", "not spanish",
    "I do not want english", "no english", "my spanish nurse called", "the doctor only speaks chinese", "I speak english and spanish", "inglés o español?",
    "yes, spanish", "sí, en español", "español me duele el pecho", "me duele, en español por favor", "english muffin for breakfast", "I ate chinese last night",
    "I took spanish fly", "mi hija habla inglés", "necesito un intérprete de español", "does anyone there speak spanish", "我不会英文", "不要中文", "我看不懂英文", "我要中文医生",
    "说中文胸口疼", "我女儿会说英语", "中文我胸口疼", "please can you text me", "请说", "language", "habla por favor", "",
]  # fmt: skip


@pytest.mark.parametrize("text", STOPS)
def test_a_wish_to_stop_is_obeyed(text: str) -> None:
    hit = keyword(text)
    assert hit is not None
    assert hit.keyword is Keyword.STOP


@pytest.mark.parametrize("text", WRONG_NUMBERS)
def test_that_the_number_is_somebody_elses_is_understood(text: str) -> None:
    hit = keyword(text)
    assert hit is not None
    assert hit.keyword is Keyword.WRONG_NUMBER


@pytest.mark.parametrize("text", OTHERS)
def test_other_words_are_left_to_the_dialogue(text: str) -> None:
    assert keyword(text) is None


@pytest.mark.parametrize(("text", "language"), [(text, code) for code, texts in LANGUAGES.items() for text in texts])
def test_a_wish_for_a_language_is_obeyed(text: str, language: str) -> None:
    assert keyword(text) == KeywordHit(Keyword.LANGUAGE, language=language)


@pytest.mark.parametrize("text", NO_WISH_FOR_A_LANGUAGE)
def test_a_language_that_is_only_spoken_of_is_left_to_the_dialogue(text: str) -> None:
    assert keyword(text) is None


def test_what_stands_beside_stop_is_not_lost() -> None:
    hit = keyword("STOP my chest hurts")
    assert hit is not None
    assert (hit.keyword, hit.rest) == (Keyword.STOP, "my chest hurts")


@pytest.mark.parametrize(
    "text", ["STOP texting me my leg is swollen", "My wound smells bad. Please stop texting me.", "deje de escribirme, tengo la pierna hinchada"]
)
def test_what_stands_beside_a_wish_is_kept_for_a_person(text: str) -> None:
    hit = keyword(text)
    assert hit is not None
    assert (hit.keyword, hit.rest) == (Keyword.STOP, text)


@pytest.mark.parametrize(
    "text",
    [
        "My wife reads my texts. I feel very dizzy", "This phone is shared. Leg is swollen", "mi esposo lee mis mensajes. La herida huele mal",
        "我和老公共用手机，伤口流脓", "we share a phone. suicidal thoughts", "No, my wife reads my texts", "5. my wife reads my texts", "this phone is shared with my husband who hits me",
    ],
)  # fmt: skip
def test_a_word_beside_a_shared_phone_is_something_more_to_read(text: str) -> None:
    assert keyword(text) == KeywordHit(Keyword.SHARED_PHONE, text)


@pytest.mark.parametrize("text", ["we share this phone with my kids", "comparto este celular con mi esposo y mi hija", "我和我老公共用一个手机。"])
def test_who_shares_the_phone_is_nothing_more_to_read(text: str) -> None:
    assert keyword(text) == KeywordHit(Keyword.SHARED_PHONE)


@pytest.mark.parametrize(
    "text", ["my son reads my messages to me because i am blind", "my son reads my text messages to me", "mi hijo lee mis mensajes en voz alta"]
)
def test_who_reads_messages_out_to_the_patient_is_no_stranger_to_them(text: str) -> None:
    assert keyword(text) is None


def test_stop_is_obeyed_beside_a_shared_phone() -> None:
    assert keyword("STOP. My wife reads my texts") == KeywordHit(Keyword.STOP, "My wife reads my texts")


def test_yes_brings_back_only_who_opted_out() -> None:
    assert keyword("YES") is None
    hit = keyword("YES", opted_out=True)
    assert hit is not None
    assert hit.keyword is Keyword.START


@given(st.text(max_size=300))
def test_no_text_breaks_the_keywords(text: str) -> None:
    assert keyword(text) == keyword(text)
