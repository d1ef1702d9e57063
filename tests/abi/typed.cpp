// typed.cpp - a typed plugin in C++: the same macros, with C++ inside the functions.
#include <algorithm>
#include <exception>
#include <string>

#include <aiki/record.h>

#define WORDS(F, R) F(R, list(str), words, AIKI_REQUIRED, AIKI_LENGTH(1, 100))
AIKI_RECORD(words, WORDS);
#define WORD(F, R)                                          \
    F(R, str, word, AIKI_REQUIRED, AIKI_LENGTH(1, 1000))    \
    F(R, i64, times, AIKI_OPTIONAL, AIKI_RANGE(1, 10), AIKI_DEFAULT(2))
AIKI_RECORD(word, WORD);
#define SENTENCE(F, R) F(R, str, text, AIKI_REQUIRED)
AIKI_RECORD(sentence, SENTENCE);

// No exception may cross into the host: what can throw is caught where the plugin ends.
static aiki_status shout(aiki_call *call, const struct word *in, struct sentence *out)
{
    try {
        std::string text;
        for (int64_t i = 0; i < in->times; i++)
            text += in->word;
        std::transform(text.begin(), text.end(), text.begin(), [](char c) {
            return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        });
        out->text = aiki_call_format(call, "%s!", text.c_str());
        return AIKI_OK;
    } catch (const std::exception &e) {
        return aiki_fail(call, "EXCEPTION", "%s", e.what());
    }
}
AIKI_TASK_TYPED_WITH(shout, "shout", word, sentence, AIKI_FIXED_DELAY(3, 10),
                     AIKI_SUMMARY("Say it twice"));

// Workflow code keeps to the arena: a std::string in here would leak when the run is dropped.
static aiki_status shout_all(aiki_run *run, const struct words *in, struct sentence *out,
                             aiki_error *err)
{
    aiki_future futures[100];
    uint32_t count = 0;
    for (uint64_t i = 0; i < in->words_count; i++) {
        word one = {};
        one.word = in->words[i];
        one.times = 1;
        AIKI_TRY(shout_start(run, &one, nullptr, &futures[count++], err));
    }
    AIKI_TRY(aiki_await_all(run, futures, count, err));
    out->text = "";
    for (uint32_t i = 0; i < count; i++) {
        sentence said;
        AIKI_TRY(shout_result(run, futures[i], &said, err));
        out->text = aiki_format(run, "%s%s", out->text, said.text);
    }
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(shout_all, "shout-all", "1.0.0", words, sentence);

AIKI_NEEDS("network read:/etc/words");
AIKI_PLUGIN("typed-cpp", "1.0.0", AIKI_WORKFLOWS(shout_all_workflow), AIKI_TASKS(shout_task));
