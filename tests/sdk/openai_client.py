"""What OpenAI's own client makes of the service: python openai_client.py URL KEY. Each check prints its name; the first that fails ends it."""

import sys

import openai

MODEL = "flow/quick"


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def models(client):
    ids = [model.id for model in client.models.list()]
    assert sorted(ids) == ["flow/quick", "flow/quick@1", "flow/slow", "flow/slow@1"], ids
    assert client.models.retrieve(f"{MODEL}@1").id == f"{MODEL}@1"
    error = refused(openai.NotFoundError, lambda: client.models.retrieve("flow/quik"))
    assert "did you mean `quick`" in error.message, error.message


def chat(client):
    ask = [{"role": "user", "content": "Where do herons nest?"}]
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ask, user="u1", metadata={"k": "v"})
    answer = raw.parse()
    choice = answer.choices[0]
    assert "tall trees" in choice.message.content, choice
    assert choice.finish_reason == "stop" and answer.model == f"{MODEL}@1", answer
    citation = choice.message.annotations[0].url_citation
    assert citation.title == "herons.md" and citation.url == "herons.md#L1-L1", citation
    assert choice.message.content[citation.start_index : citation.end_index] == "[1]", citation
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    job = raw.headers["x-anabranch-job-id"]
    assert answer.id == job.replace("job_", "chatcmpl-"), (answer.id, job)
    assert answer.anabranch["job_id"] == job


def chat_stream(client):
    ask = [{"role": "user", "content": "Where do herons nest?"}]
    stream = client.chat.completions.create(
        model=MODEL, messages=ask, stream=True, stream_options={"include_usage": True}
    )
    text, finished, usage, annotations = "", [], None, []
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            annotations += getattr(choice.delta, "annotations", None) or []
            finished += [choice.finish_reason] if choice.finish_reason else []
    whole = client.chat.completions.create(model=MODEL, messages=ask).choices[0].message.content
    assert text == whole and finished == ["stop"], (text, whole, finished)
    assert usage is not None and annotations[0]["url_citation"]["title"] == "herons.md"


def once(client):
    ask = dict(model=MODEL, messages=[{"role": "user", "content": "Where?"}], extra_headers={"Idempotency-Key": "k1"})
    first, second = client.chat.completions.create(**ask), client.chat.completions.create(**ask)
    assert first.id == second.id
    ask["messages"] = [{"role": "user", "content": "Who?"}]
    refused(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**ask))


def refusals(client):
    ask = dict(model=MODEL, messages=[{"role": "user", "content": "Where?"}])
    error = refused(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**ask, n=2))
    assert error.param == "n" and error.type == "invalid_request_error", error.body
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    refused(openai.UnprocessableEntityError, lambda: client.chat.completions.create(**ask, tools=[tool]))
    refused(openai.NotFoundError, lambda: client.chat.completions.create(**{**ask, "model": "flow/none"}))
    # What the flow decides by itself is tolerated.
    client.chat.completions.create(**ask, temperature=0.3, max_tokens=9, stop=["x"])


def responses(client):
    first = client.responses.create(model=MODEL, input="Where do herons nest?", metadata={"k": "v"})
    assert first.status == "completed" and "tall trees" in first.output_text, first
    assert first.output[0].content[0].annotations[0].title == "herons.md"
    assert first.metadata == {"k": "v"} and first.usage.total_tokens >= 0
    again = client.responses.retrieve(first.id)
    assert again.output_text == first.output_text
    error = refused(
        openai.UnprocessableEntityError,
        lambda: client.responses.create(model=MODEL, input="And ships?", previous_response_id=first.id),
    )
    assert "takes no conversation" in error.message, error.message


def responses_stream(client):
    kinds, text, numbers, done = [], "", [], None
    for event in client.responses.create(model=MODEL, input="Where do herons nest?", stream=True):
        kinds.append(event.type)
        numbers.append(event.sequence_number)
        text += event.delta if event.type == "response.output_text.delta" else ""
        done = event.response if event.type == "response.completed" else done
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed", kinds
    assert numbers == list(range(len(numbers))), numbers
    assert text == done.output_text, (text, done.output_text)
    rest = [event.type for event in client.responses.retrieve(done.id, stream=True, starting_after=5)]
    assert rest[-1] == "response.completed" and "response.output_text.delta" not in rest, rest


def background(client):
    begun = client.responses.create(model=MODEL, input="Where do herons nest?", background=True)
    assert begun.status in ("queued", "in_progress", "completed"), begun.status
    *_, last = client.responses.retrieve(begun.id, stream=True)
    assert last.type == "response.completed", last
    assert client.responses.cancel(begun.id).status == "completed", "what has ended stays as it ended"
    client.responses.delete(begun.id)
    refused(openai.NotFoundError, lambda: client.responses.retrieve(begun.id))


def stopped(client):
    begun = client.responses.create(model="flow/slow", input="Where do herons nest?", background=True)
    assert begun.status in ("queued", "in_progress"), begun
    error = refused(openai.ConflictError, lambda: client.responses.delete(begun.id))
    assert "has not ended" in error.message, error.message
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"
    *_, last = client.responses.retrieve(begun.id, stream=True)
    # The stream has no event for it, so an error ends it.
    assert last.type == "error" and last.code == "cancelled", last


def strangers(client):
    stranger = client.with_options(api_key="anb_nobody-knows-this-one")
    refused(openai.AuthenticationError, lambda: stranger.models.list())


if __name__ == "__main__":
    client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key=sys.argv[2], max_retries=0, timeout=60)
    for check in [models, chat, chat_stream, once, refusals, responses, responses_stream, background, stopped, strangers]:
        check(client)
        print(check.__name__)
