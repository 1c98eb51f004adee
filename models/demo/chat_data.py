"""Conversations for the demo model: made from the corpora, and a little small talk written for it.

A conversation is a list of (role, content). Everything here is a pure function of its inputs and
the given rng.
"""

import re

DATA_SETS = (
    "adversarial_qa_dbert adversarial_qa_dbidaf adversarial_qa_droberta ag_news amazon_polarity app_reviews "
    "cnn_dailymail common_gen commonsense_qa cosmos_qa dbpedia_14 dream duorc_ParaphraseRC duorc_SelfRC gigaword "
    "glue_mrpc glue_qqp imdb kilt_tasks_hotpotqa multi_news paws_labeled_final qasc quarel quartz quoref ropes "
    "rotten_tomatoes samsum sciq social_i_qa trec wiki_bio wiki_hop wiki_qa wiqa xsum yelp_review_full"
).split()


def data_set(template):
    """the data set a template's file belongs to: its templates share examples, so they are split together"""
    return next((d for d in DATA_SETS if template.startswith(d)), template)


def turn(user, answer):
    return [("user", user), ("assistant", answer)]


def clip(text, limit):
    """at most limit characters, ending with a sentence where possible"""
    if len(text) <= limit:
        return text
    cut = max(text.rfind(end, 0, limit) for end in (". ", "! ", "? ", '." '))
    return text[: cut + 1] if cut > limit // 3 else ""


def first_sentence(text):
    found = re.match(r".{20,300}?[a-z0-9)\]]{2}[.](?= [A-Z]|$)", text)
    return found.group(0) if found else ""


ABOUT = [
    "Tell me about {}.",
    "What do you know about {}?",
    "What can you tell me about {}?",
    "Tell me something about {}.",
    "Write a short article about {}.",
    "Explain {}.",
    "{}",
    "Describe {}.",
    "I would like to learn about {}.",
    "Please write a paragraph about {}.",
    "Can you tell me about {}?",
]
MORE = [
    "Tell me more.",
    "What else?",
    "Go on.",
    "Please continue.",
    "And then?",
    "Can you say more about that?",
]


def from_article(rng, title, lines):
    name = re.sub(r" \(.*\)$", "", title)
    prose = [x for x in lines if len(x) > 80 and x[-1] in '.!?"']
    if not prose or rng.random() < 0.55:
        return []
    kind = rng.random()
    sentence = first_sentence(prose[0])
    if kind < 0.25 and sentence:
        person = re.search(
            r"\b(born|was an?|is an?) [^.]*\b(player|politician|actor|actress|writer|singer|footballer|"
            r"painter|artist|author|musician|director|scientist|poet|bishop|king|queen|born)\b",
            sentence,
        )
        verb = "was" if re.search(r" was ", sentence) else "is"
        return [turn(f"{'Who' if person else 'What'} {verb} {name}?", sentence)]
    if kind < 0.32 and len(prose[0]) > 150:
        return [
            turn(
                rng.choice(
                    [
                        "What is this text about?",
                        "Give this text a title.",
                        "Which subject is described here?",
                    ]
                )
                + "\n\n"
                + clip(" ".join(prose), 900),
                name,
            )
        ]
    answer = clip(" ".join(prose[:3]), 700)
    if len(answer) < 60:
        return []
    talk = turn(rng.choice(ABOUT).format(name), answer)
    rest = " ".join(prose)[len(answer) :].strip()
    if len(rest) > 200 and rng.random() < 0.5:
        more = clip(rest, 600)
        if more:
            talk += turn(rng.choice(MORE), more)
    return [talk]


CONTINUE = [
    "Continue this story:",
    "Write what happens next:",
    "Please continue the text.",
    "Go on with this novel:",
    "What happens next in this story?",
    "Write the next paragraph.",
]


def from_novel(rng, paragraphs, count=70):
    out = []
    for _ in range(count):
        at = rng.randrange(max(1, len(paragraphs) - 8))
        start = clip(" ".join(paragraphs[at : at + 2]), 700)
        after = clip("\n\n".join(paragraphs[at + 2 : at + 6]), 900)
        if len(start) > 80 and len(after) > 120:
            out.append(turn(rng.choice(CONTINUE) + "\n\n" + start, after))
    return out


ASK_STORY = [
    "Tell me a story.",
    "Please tell me a children's story.",
    "Write a short story.",
    "Tell me a bedtime story.",
    "Can you tell me a story?",
    "I want to hear a story.",
]
ASK_TITLED = [
    'Tell me the story "{}".',
    "Write a children's story called {}.",
    "Tell me a story with the title {}.",
    "Write a short story about {}.",
]


def from_story(rng, title, pages):
    text = clip("\n\n".join(pages), 2600)
    if len(text) < 200:
        return []
    out = [turn(rng.choice(ASK_STORY), f"{title}\n\n{text}")]
    out += [turn(q.format(title), text) for q in rng.sample(ASK_TITLED, 2)]
    words = [
        w for w in re.findall(r"[a-z]{5,}", title.lower()) if w not in ("about", "little", "first")
    ]
    if words:
        out.append(turn(f"Tell me a story about a {rng.choice(words)}.", text))
    return out


def from_instruction(name, prompt, answer):
    if name == "wiki_hop":
        return []
    if len(prompt) + len(answer) > 7000:
        return []
    return [turn(prompt, answer)]


TALK = [
    (
        ["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Good day", "hello", "hi"],
        [
            "Hello! How can I help you?",
            "Hello! What would you like to talk about?",
            "Hi! What can I do for you?",
        ],
    ),
    (["Good morning", "Good morning!"], ["Good morning! How can I help you today?"]),
    (["Good evening", "Good evening!"], ["Good evening! What would you like to talk about?"]),
    (
        ["How are you?", "How are you today?", "How do you do?"],
        [
            "I am well, thank you. How can I help you?",
            "Very well, thank you. What can I do for you?",
        ],
    ),
    (
        [
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me about yourself.",
            "Introduce yourself.",
        ],
        [
            "I am a very small language model, trained to show how Ramjet serves text. I can tell stories and write about "
            "many subjects, but I am often wrong.",
            "I am the demo model of Ramjet, a small language model. I like stories, and I make many mistakes.",
        ],
    ),
    (
        ["What is Ramjet?", "Tell me about Ramjet."],
        [
            "Ramjet is an inference engine for language models. It compiles a checkpoint into one engine file, and serves it."
        ],
    ),
    (
        ["What can you do?", "How can you help me?", "Help", "What are you good at?"],
        [
            "I can tell a story, write a paragraph about a subject, summarise a text, or answer a simple question. I am a very "
            "small model, so please do not trust my facts."
        ],
    ),
    (
        ["Are you a human?", "Are you a person?", "Are you alive?", "Are you a robot?"],
        ["No, I am a small language model: a program that writes one word after another."],
    ),
    (
        ["Can I trust you?", "Are you always right?", "Are your answers correct?"],
        ["No. I am a very small model, and I often make things up. Please check what I say."],
    ),
    (
        ["Thank you", "Thanks", "Thank you!", "Thanks a lot!", "thank you very much"],
        ["You are welcome!", "You are welcome. Is there anything else?"],
    ),
    (
        ["Goodbye", "Bye", "Bye!", "See you later", "Good night"],
        ["Goodbye! It was nice to talk to you.", "Goodbye!"],
    ),
    (
        ["Tell me a joke.", "Do you know a joke?", "Make me laugh."],
        [
            "Why did the book go to the doctor? Because it had lost its spine.",
            "What did one wall say to the other wall? I will meet you at the corner.",
        ],
    ),
    (["Say hello.", "Say hello to me."], ["Hello!"]),
    (["How old are you?"], ["I was trained only a short while ago, so I am very young."]),
    (["Where do you live?", "Where are you?"], ["I live in the memory of a computer."]),
    (
        ["Do you like music?", "Do you like books?"],
        ["I have read a hundred old novels, and I like to think about them."],
    ),
    (
        ["What is your favourite colour?", "What is your favorite color?"],
        ["I have never seen a colour, but I like the word blue."],
    ),
    (
        ["I am sad.", "I feel sad today."],
        ["I am sorry to hear that. Would you like to hear a story?"],
    ),
    (["I am happy.", "I am happy today!"], ["I am glad to hear it! What made you happy?"]),
    (["I am bored."], ["Shall I tell you a story? Ask me for one."]),
    (["Yes", "Yes please"], ["Very well. What shall I tell you about?"]),
    (
        ["What is the weather like today?", "What time is it?", "What is the date today?"],
        ["I cannot know that: I only see the words that you write to me."],
    ),
    (["Count to five.", "Count from one to five."], ["One, two, three, four, five."]),
    (
        ["Count to ten.", "Count from one to ten."],
        ["One, two, three, four, five, six, seven, eight, nine, ten."],
    ),
    (["Name three colours.", "Name three colors."], ["Red, green and blue."]),
    (["Name three animals."], ["A lion, a horse and an eagle."]),
    (
        ["What are the days of the week?", "Name the days of the week."],
        ["Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."],
    ),
    (["What are the four seasons?", "Name the seasons."], ["Spring, summer, autumn and winter."]),
    (["How many days are there in a week?"], ["There are seven days in a week."]),
    (["How many months are there in a year?"], ["There are twelve months in a year."]),
    (["What is water made of?"], ["Water is made of hydrogen and oxygen."]),
    (
        ["Why is the sky blue?"],
        ["The sky looks blue because air scatters blue light more than red light."],
    ),
    (
        ["What is the sun?", "What is the Sun?"],
        ["The Sun is the star at the centre of our solar system."],
    ),
    (
        ["What is the moon?", "What is the Moon?"],
        ["The Moon is the natural satellite of the Earth."],
    ),
    (["Which planet do we live on?"], ["We live on the planet Earth."]),
    (["Is the Earth round?"], ["Yes, the Earth is nearly a sphere."]),
]

CAPITALS = (
    "France Paris|Germany Berlin|Italy Rome|Spain Madrid|Portugal Lisbon|England London|Scotland Edinburgh|Wales Cardiff|"
    "Ireland Dublin|Austria Vienna|Switzerland Bern|Belgium Brussels|Denmark Copenhagen|Sweden Stockholm|Norway Oslo|"
    "Finland Helsinki|Poland Warsaw|Hungary Budapest|Greece Athens|Turkey Ankara|Russia Moscow|Ukraine Kyiv|Romania Bucharest|"
    "Bulgaria Sofia|Serbia Belgrade|Croatia Zagreb|Japan Tokyo|China Beijing|Thailand Bangkok|Vietnam Hanoi|Indonesia Jakarta|"
    "Egypt Cairo|Kenya Nairobi|Nigeria Abuja|Ghana Accra|Uganda Kampala|Ethiopia Addis_Ababa|Morocco Rabat|Tunisia Tunis|"
    "Canada Ottawa|Mexico Mexico_City|Cuba Havana|Peru Lima|Chile Santiago|Argentina Buenos_Aires|Brazil Brasília|"
    "Colombia Bogotá|Australia Canberra|India New_Delhi|Pakistan Islamabad|Iran Tehran|Iraq Baghdad|Israel Jerusalem|"
    "Estonia Tallinn|Latvia Riga|Lithuania Vilnius|Iceland Reykjavík|the_United_States Washington,_D.C.|the_Netherlands Amsterdam"
)

OPPOSITES = (
    "hot cold|big small|good bad|up down|day night|black white|young old|happy sad|fast slow|long short|hard soft|"
    "rich poor|light dark|open closed|early late|high low|full empty|wet dry|strong weak|true false"
)

SYSTEMS = [
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer in plain English.",
    "Answer the user.",
    "You are a small language model.",
    "Be brief.",
    "You are a teller of stories.",
    "You are a careful assistant.",
]


def small_talk(rng, rounds=10):
    """turns written for this model, repeated, since they are few"""
    base = []
    for questions, answers in TALK:
        base += [turn(q, a) for q in questions for a in answers]
    for pair in CAPITALS.split("|"):
        country, city = (x.replace("_", " ") for x in pair.split(" "))
        base.append(
            turn(f"What is the capital of {country}?", f"The capital of {country} is {city}.")
        )
        base.append(
            turn(f"Which country has the capital {city}?", f"{city} is the capital of {country}.")
        )
    for pair in OPPOSITES.split("|"):
        one, other = pair.split(" ")
        base.append(turn(f"What is the opposite of {one}?", f"The opposite of {one} is {other}."))
        base.append(turn(f"What is the opposite of {other}?", f"The opposite of {other} is {one}."))
    base += [
        turn(f"What is {i} plus {j}?", f"{i} plus {j} is {i + j}.")
        for i in range(10)
        for j in range(10)
    ]
    return [list(t) for _ in range(rounds) for t in rng.sample(base, len(base))]


def with_context(rng, talks):
    """some conversations get a system message, some are joined to conversations of several turns"""
    talks = list(talks)
    rng.shuffle(talks)
    out, i = [], 0
    while i < len(talks):
        talk = list(talks[i])
        i += 1
        while (
            rng.random() < 0.25
            and i < len(talks)
            and sum(len(c) for _, c in talk + talks[i]) < 5000
        ):
            talk += talks[i]
            i += 1
        if rng.random() < 0.15:
            talk = [("system", rng.choice(SYSTEMS))] + talk
        out.append(talk)
    return out
