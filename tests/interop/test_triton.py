"""Triton's synchronous client, as published."""

import re
from contextlib import closing

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from samples import DIGITS, MODELS, WDBC, clean, withheld
from triton import assert_probabilities, inputs, tensor

NOT_IMPLEMENTED = ("shared_memory", "trace", "logging")


@pytest.fixture
def client(sidecar):
    with closing(InferenceServerClient(sidecar.grpc, ssl=True, **sidecar.client_files)) as client:
        yield client


def refusal(client: InferenceServerClient, model: str, given, **options) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as raised:
        client.infer(model, given, client_timeout=30, **options)
    return raised.value


# The refused side first.


def test_a_wrong_shape_is_refused_by_a_message_that_names_the_field(client):
    error = refusal(client, "wdbc", [tensor("features", np.ones((1, 29), np.float32))])
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert "inputs[0].shape[1]" in error.message()
    assert "30" in error.message(), "the message alone has to say what to mend"


def test_a_wrong_dtype_is_refused_by_a_message_that_names_the_field(client):
    error = refusal(client, "wdbc", [tensor("features", np.ones((1, 30), np.float64), "FP64")])
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert "inputs[0].datatype" in error.message()


def test_a_wrong_input_name_is_refused_by_a_message_that_names_the_field(client):
    values, _ = clean(WDBC)[0]
    error = refusal(client, "wdbc", [tensor("feature", values)])
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert "inputs[0].name" in error.message()


def test_an_unknown_model_is_refused_like_a_forbidden_one(client):
    values, _ = clean(WDBC)[0]
    error = refusal(client, "no-such-model", [tensor("features", values)])
    assert error.status() == "StatusCode.PERMISSION_DENIED"


def test_a_timeout_of_a_microsecond_is_a_deadline(client):
    values, _ = clean(DIGITS)[0]
    error = refusal(client, "digits", inputs(DIGITS, values), timeout=1)
    assert error.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_what_is_withheld_is_told_by_a_message_that_gives_nothing_away(client):
    samples = withheld()
    assert len(samples) >= 8
    for model, values in samples:
        error = refusal(client, model.name, inputs(model, values))
        assert error.status() == "StatusCode.FAILED_PRECONDITION"
        assert not re.search(r"\d\.\d|score|threshold|p-value|squeeze|median", error.message(), re.IGNORECASE)


# What is answered.


def test_server_and_models_are_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    for model in MODELS:
        assert client.is_model_ready(model.name)


def test_server_metadata_names_the_server_and_no_extension_that_is_not_implemented(client):
    metadata = client.get_server_metadata()
    assert metadata.name == "asepsis"
    assert metadata.version
    assert not [name for name in metadata.extensions if any(word in name for word in NOT_IMPLEMENTED)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_model_metadata_publishes_the_contract_and_no_internal_evidence(client, model):
    metadata = client.get_model_metadata(model.name)
    assert metadata.name == model.name
    assert metadata.versions
    assert [(given.name, given.datatype, list(given.shape)) for given in metadata.inputs] == [
        (model.input, "FP32", [-1, *model.row])
    ]
    assert [(output.name, output.datatype, list(output.shape)) for output in metadata.outputs] == [
        ("probabilities", "FP32", [-1, model.classes])
    ]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_model_config_agrees_with_the_metadata(client, model):
    config = client.get_model_config(model.name, as_json=True)["config"]
    assert config["name"] == model.name
    assert config["max_batch_size"] > 0
    (given,) = config["input"]
    assert (given["name"], given["data_type"]) == (model.input, "TYPE_FP32")
    assert [int(dimension) for dimension in given["dims"]] == list(model.row)
    (output,) = config["output"]
    assert (output["name"], output["data_type"]) == ("probabilities", "TYPE_FP32")
    assert [int(dimension) for dimension in output["dims"]] == [model.classes]


def test_the_repository_index_lists_the_demo_models_as_ready(client):
    index = client.get_model_repository_index()
    names = [*(model.name for model in MODELS), "pneumonia-baseline"]
    assert {model.name: model.state for model in index.models} == dict.fromkeys(names, "READY")


def test_statistics_count_an_inference(client):
    def count() -> int:
        (statistics,) = client.get_inference_statistics("wdbc").model_stats
        return statistics.inference_count

    before = count()
    values, _ = clean(WDBC)[0]
    client.infer("wdbc", inputs(WDBC, values))
    assert count() == before + 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_clean_sample_but_the_false_alarms_is_answered_with_its_class(client, model):
    for values, label in clean(model):
        assert_probabilities(client.infer(model.name, inputs(model, values), client_timeout=30), model, label)


def test_an_answer_echoes_the_id_and_carries_our_parameters(client):
    values, label = clean(WDBC)[0]
    version = client.get_model_metadata("wdbc").versions[0]
    result = client.infer("wdbc", inputs(WDBC, values), model_version=version, request_id="interop-1")
    assert_probabilities(result, WDBC, label)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("interop-1", "wdbc", version)
    assert response.parameters["asepsis_request_id"].string_param
    assert response.parameters["asepsis_model_version"].string_param == version


def test_a_generous_timeout_and_a_priority_change_nothing(client):
    values, label = clean(WDBC)[0]
    result = client.infer("wdbc", inputs(WDBC, values), timeout=30_000_000, priority=1)
    assert_probabilities(result, WDBC, label)


def test_gzip_is_understood(client):
    values, label = clean(DIGITS)[0]
    result = client.infer("digits", inputs(DIGITS, values), compression_algorithm="gzip")
    assert_probabilities(result, DIGITS, label)


def test_classification_answers_value_index_label_best_first(client):
    values, label = clean(WDBC)[0]
    output = InferRequestedOutput("probabilities", class_count=2)
    classes = client.infer("wdbc", inputs(WDBC, values), outputs=[output]).as_numpy("probabilities")
    assert classes.shape == (1, 2)
    parsed = [entry.decode().split(":") for entry in classes[0]]
    assert [len(parts) for parts in parsed] == [3, 3]
    best, other = parsed
    assert float(best[0]) >= float(other[0])
    assert int(best[1]) == label
    assert {int(best[1]), int(other[1])} == {0, 1}
    assert {int(index): name for _, index, name in parsed}[0].lower() == "malignant"
