"""Makes `api_models.txt`, the output shapes of AWS APIs, from botocore's service models:

    python api_models.py > api_models.txt        (any Python that has botocore)

The format is described in `api_models.rs`. Whole services, or the operations named here: those that
Step Functions integrates by name and those most used beside them.
"""
import gzip, json, pathlib, re
import botocore

# directory of botocore: (name of the optimised integration, operations or None for all)
SERVICES = {
    "athena": ("athena", ["StartQueryExecution", "StopQueryExecution", "GetQueryExecution", "GetQueryResults"]),
    "batch": ("batch", ["SubmitJob", "DescribeJobs", "ListJobs", "CancelJob", "TerminateJob"]),
    "bedrock-runtime": ("bedrock", ["InvokeModel", "Converse"]),
    "cloudwatch": (None, ["PutMetricData", "GetMetricStatistics"]),
    "codebuild": ("codebuild", ["StartBuild", "StopBuild", "BatchDeleteBuilds", "BatchGetBuilds"]),
    "comprehend": (None, ["DetectSentiment", "DetectEntities", "DetectDominantLanguage"]),
    "databrew": ("databrew", ["StartJobRun"]),
    "dynamodb": ("dynamodb", None),
    "ecs": ("ecs", ["RunTask", "StopTask", "DescribeTasks"]),
    "emr-containers": ("emr-containers", ["CreateVirtualCluster", "DeleteVirtualCluster", "StartJobRun"]),
    "emr-serverless": ("emr-serverless", ["CreateApplication", "StartApplication", "StopApplication",
                                          "DeleteApplication", "StartJobRun", "CancelJobRun"]),
    "events": ("events", None),
    "glue": ("glue", ["StartJobRun", "GetJobRun", "BatchStopJobRun", "StartCrawler", "GetCrawler"]),
    "kms": (None, None),
    "lambda": ("lambda", None),
    "mediaconvert": ("mediaconvert", ["CancelJob"]),
    "s3": (None, None),
    "sagemaker": ("sagemaker", ["CreateEndpoint", "CreateEndpointConfig", "CreateHyperParameterTuningJob",
                                "CreateLabelingJob", "CreateModel", "CreateProcessingJob", "CreateTrainingJob",
                                "CreateTransformJob", "UpdateEndpoint"]),
    "scheduler": (None, ["CreateSchedule", "DeleteSchedule", "UpdateSchedule"]),
    "secretsmanager": (None, None),
    "ses": (None, ["SendEmail", "SendTemplatedEmail"]),
    "sesv2": (None, ["SendEmail"]),
    "sns": ("sns", None),
    "sqs": ("sqs", None),
    "ssm": (None, ["DeleteParameter", "GetParameter", "GetParameters", "GetParametersByPath", "PutParameter",
                   "SendCommand", "GetCommandInvocation"]),
    "stepfunctions": ("states", None),
    "sts": (None, None),
    "textract": (None, ["StartDocumentTextDetection", "StartDocumentAnalysis"]),
    "transcribe": (None, ["StartTranscriptionJob", "GetTranscriptionJob"]),
    "translate": (None, ["TranslateText"]),
}
# Results that the optimised integration reads as JSON, where the API has bytes.
JSON_RESULTS = {("lambda", "InvocationResponse", "Payload"), ("bedrock-runtime", "InvokeModelResponse", "body")}


def upper(name):
    return name[:1].upper() + name[1:]


def java(name):
    """The name as AWS's SDK for Java has it, which Step Functions shows for `aws-sdk` integrations."""
    words = re.sub(r"[^A-Za-z0-9]+", " ", name)
    words = re.sub(r"([^a-z]{2,})v([0-9]+)", r"\1 v\2 ", words)
    words = re.sub(r"([^A-Z]{2,})V([0-9]+)", r"\1 V\2 ", words)
    words = re.sub(r"(?<=[a-z])(?=[A-Z][a-zA-Z0-9])", " ", words)
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", words)
    words = re.sub(r"([0-9])([a-zA-Z])", r"\1 \2", words)
    named = "".join(word.lower().capitalize() for word in words.split())
    return "Nul" if named == "Null" else named


def bounds(shape):
    if "min" not in shape and "max" not in shape:
        return ""
    return f"{shape.get('min', '')}..{shape.get('max', '')}"


class Table:
    def __init__(self, service, model):
        self.service, self.shapes, self.lines, self.index = service, model["shapes"], [], {}

    def ref(self, name):
        """A letter where a shape says no more than its type, else the number of its line."""
        shape = self.shapes[name]
        kind = shape["type"]
        if shape.get("document") or shape.get("eventstream"):
            return "A"
        if kind in ("integer", "long", "float", "double"):
            text = "N" + bounds(shape)
        elif kind == "boolean":
            text = "T"
        elif kind == "timestamp":
            text = "D"
        elif kind == "blob":
            text = "B" + bounds(shape)
        elif kind == "string":
            text = "S" + ("|" + "|".join(shape["enum"]) if "enum" in shape else bounds(shape))
        else:
            return self.line(name)
        return text if len(text) == 1 else self.put(text)

    def put(self, text):
        if text not in self.index:
            self.index[text] = len(self.lines)
            self.lines.append(text)
        return str(self.index[text])

    def line(self, name):
        key = ("shape", name)
        if key in self.index:
            return str(self.index[key])
        # Shapes may hold themselves: the number is known before the line is.
        self.index[key] = at = len(self.lines)
        self.lines.append("")
        shape = self.shapes[name]
        if shape["type"] == "list":
            text = f"L{self.ref(shape['member']['shape'])} {bounds(shape)}".rstrip()
        elif shape["type"] == "map":
            text = "M" + self.ref(shape["value"]["shape"])
        else:
            required = set(shape.get("required", []))
            members = []
            for member, what in shape["members"].items():
                names = upper(member) if upper(member) == java(member) else f"{java(member)}/{upper(member)}"
                open_json = what.get("jsonvalue") or (self.service, name, member) in JSON_RESULTS
                ref = "A" if open_json else self.ref(what["shape"])
                members.append(f"{names}{'*' if member in required else ''}:{ref}")
            text = "O" + " ".join(members)
        self.lines[at] = text
        return str(at)


def main():
    data = pathlib.Path(botocore.__file__).parent / "data"
    print(f"# Output shapes of AWS APIs, taken from the service models of botocore {botocore.__version__},")
    print("# Copyright Amazon.com, Inc. or its affiliates, licensed under the Apache License 2.0;")
    print("# changed: reduced to names, types and bounds by api_models.py. Not to be edited by hand.")
    for service, (optimised, operations) in SERVICES.items():
        path = sorted((data / service).glob("*/service-2.json.gz"))[-1]
        model = json.loads(gzip.open(path).read())
        sdk = re.sub(r"[^a-z0-9]", "", model["metadata"]["serviceId"].lower())
        table = Table(service, model)
        named = []
        for operation in operations or sorted(model["operations"]):
            output = model["operations"][operation].get("output")
            named.append(f"{operation}={table.line(output['shape']) if output else '-'}")
        print(f"@{optimised or '-'} {sdk} {' '.join(named)}")
        print("\n".join(table.lines))


main()
