"""The recorded executions that need functions, as a user runs them: argv is the endpoint, the file of the
cases and where to write what became of each. Every function is a worker of the activity of its name
and runs the recorded source; keys come by environment."""
import concurrent.futures, json, sys, threading, time, traceback, uuid
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, cases, report = sys.argv[1:4]
config = Config(inject_host_prefix=False, retries={"max_attempts": 0}, read_timeout=75, max_pool_connections=80)
sfn = boto3.client("stepfunctions", endpoint_url=endpoint, region_name="us-east-1", config=config)
ROLE = "arn:aws:iam::111111111111:role/sfn-conformance"
FILE = "/var/task/handler.py"
ENDED_WITHIN_S = 30


def failure(error, source):
    """An exception as the function service words it."""
    lines = source.splitlines()
    trace = [f'  File "{FILE}", line {frame.lineno}, in {frame.name}\n    {lines[frame.lineno - 1].strip()}\n'
             for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    return json.dumps({"errorMessage": str(error), "errorType": type(error).__name__,
                       "requestId": str(uuid.uuid4()), "stackTrace": trace}, separators=(",", ":"))


def call(handler, source, token, event):
    try:
        answer = handler(event, None)
        text = answer.decode() if isinstance(answer, bytes) else json.dumps(answer)
    except Exception as error:
        sfn.send_task_failure(taskToken=token, error=type(error).__name__, cause=failure(error, source))
        return
    try:
        sfn.send_task_success(taskToken=token, output=text)
    except ClientError as error:
        sfn.send_task_failure(taskToken=token, error=error.response["Error"]["Code"], cause="")


def serve(function):
    """Works as one function, until the program ends."""
    source = function["handler_source"]
    module = {}
    exec(compile(source, FILE, "exec"), module)
    activity = sfn.create_activity(name=function["name"])["activityArn"]

    def work():
        while True:
            task = sfn.get_activity_task(activityArn=activity, workerName="function")
            if task.get("taskToken"):
                call(module["handler"], source, task["taskToken"], json.loads(task["input"]))

    threading.Thread(target=work, daemon=True).start()


def run(case):
    for function in case["lambdas"].values():
        if function.get("handler_source"):
            serve(function)
    machine = sfn.create_state_machine(name=f"c-{uuid.uuid4()}", definition=json.dumps(case["definition"]), roleArn=ROLE,
                                       type=case["type"] or "STANDARD")["stateMachineArn"]
    if case["type"] == "EXPRESS":
        seen = sfn.start_sync_execution(stateMachineArn=machine, input=case["input"])
        return {"id": case["id"], "execution": seen, "events": None}
    execution = sfn.start_execution(stateMachineArn=machine, input=case["input"])["executionArn"]
    until = time.time() + ENDED_WITHIN_S
    while True:
        seen = sfn.describe_execution(executionArn=execution)
        if seen["status"] != "RUNNING" or time.time() > until:
            break
        time.sleep(0.05)
    events = sfn.get_execution_history(executionArn=execution, maxResults=1000)["events"]
    return {"id": case["id"], "execution": seen, "events": events}


with open(cases) as file:
    asked = json.load(file)
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    done = list(pool.map(run, asked))
with open(report, "w") as file:
    json.dump(done, file, default=str)
