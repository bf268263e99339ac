"""boto3 and the AWS CLI against Ark: argv is the endpoint and the AWS CLI; keys come by environment."""
import json, os, subprocess, sys, time
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, cli = sys.argv[1], sys.argv[2]
# Calls that answer when the work is done put `sync-` before the host unless they are told not to.
config = Config(inject_host_prefix=False, retries={"max_attempts": 0}, read_timeout=75)
sfn = boto3.client("stepfunctions", endpoint_url=endpoint, region_name="eu-west-1", config=config)
ROLE = "arn:aws:iam::000000000000:role/any"


def ended(arn, wanted):
    for _ in range(600):
        execution = sfn.describe_execution(executionArn=arn)
        if execution["status"] != "RUNNING":
            assert execution["status"] == wanted, execution
            return execution
        time.sleep(0.05)
    raise AssertionError(f"{arn} did not end")


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return
    raise AssertionError(f"not refused: {code}")


activity = sfn.create_activity(name="prod--resize", tags=[{"key": "env", "value": "prod"}])["activityArn"]
assert ":eu-west-1:" in activity, activity
definition = json.dumps({"StartAt": "Work", "States": {
    "Work": {"Type": "Task", "Resource": activity, "HeartbeatSeconds": 30, "TimeoutSeconds": 60, "End": True}}})
machine = sfn.create_state_machine(name="resize", definition=definition, roleArn=ROLE)["stateMachineArn"]
assert sfn.describe_state_machine(stateMachineArn=machine)["definition"] == definition

# succeed
first = sfn.start_execution(stateMachineArn=machine, name="one", input='{"n": 1}')["executionArn"]
assert sfn.start_execution(stateMachineArn=machine, name="one", input='{"n": 1}')["executionArn"] == first
refused("ExecutionAlreadyExists", sfn.start_execution, stateMachineArn=machine, name="one", input='{"n": 2}')
task = sfn.get_activity_task(activityArn=activity, workerName="boto")
assert json.loads(task["input"]) == {"n": 1}, task
sfn.send_task_heartbeat(taskToken=task["taskToken"])
refused("InvalidOutput", sfn.send_task_success, taskToken=task["taskToken"], output="no JSON")
sfn.send_task_success(taskToken=task["taskToken"], output='{"n": 2}')
assert json.loads(ended(first, "SUCCEEDED")["output"]) == {"n": 2}
refused("InvalidToken", sfn.send_task_heartbeat, taskToken="made-up")
events = [event["type"] for event in sfn.get_execution_history(executionArn=first)["events"]]
assert events == ["ExecutionStarted", "TaskStateEntered", "ActivityScheduled", "ActivityStarted",
                  "ActivitySucceeded", "TaskStateExited", "ExecutionSucceeded"], events

# fail, and go on from where it failed
second = sfn.start_execution(stateMachineArn=machine, name="two")["executionArn"]
task = sfn.get_activity_task(activityArn=activity)
sfn.send_task_failure(taskToken=task["taskToken"], error="Broken", cause="on purpose")
failed = ended(second, "FAILED")
assert (failed["error"], failed["cause"], failed["redriveStatus"]) == ("Broken", "on purpose", "REDRIVABLE"), failed
sfn.redrive_execution(executionArn=second)
task = sfn.get_activity_task(activityArn=activity)
sfn.send_task_success(taskToken=task["taskToken"], output="{}")
assert ended(second, "SUCCEEDED")["redriveCount"] == 1

# stop
third = sfn.start_execution(stateMachineArn=machine, name="three")["executionArn"]
sfn.stop_execution(executionArn=third, error="Enough", cause="said so")
assert ended(third, "ABORTED")["error"] == "Enough"
listed = [page["name"] for page in sfn.list_executions(stateMachineArn=machine)["executions"]]
assert listed == ["three", "two", "one"], listed
pages = sfn.get_paginator("list_executions").paginate(stateMachineArn=machine, PaginationConfig={"PageSize": 1})
assert [e["name"] for page in pages for e in page["executions"]] == listed
assert [e["name"] for e in sfn.list_executions(stateMachineArn=machine, statusFilter="ABORTED")["executions"]] == ["three"]

# Express, answered when it is done
sync = sfn.create_state_machine(name="now", type="EXPRESS", roleArn=ROLE,
                                definition='{"StartAt":"P","States":{"P":{"Type":"Pass","Result":{"x":1},"End":true}}}')
done = sfn.start_sync_execution(stateMachineArn=sync["stateMachineArn"], input="{}")
assert (done["status"], json.loads(done["output"])) == ("SUCCEEDED", {"x": 1}), done
refused("StateMachineTypeNotSupported", sfn.list_executions, stateMachineArn=sync["stateMachineArn"])

# what workers say in passing, by whichever protocol this SDK speaks
boto3.client("cloudwatch", endpoint_url=endpoint, region_name="eu-west-1", config=config).put_metric_data(
    Namespace="worker", MetricData=[{"MetricName": "busy", "Value": 1.0}])
assert boto3.client("sts", endpoint_url=endpoint, region_name="eu-west-1").get_caller_identity()["Account"] == "000000000000"


def aws(*words):
    command = [cli, "--endpoint-url", endpoint, "--region", "eu-west-1", "--output", "json", "stepfunctions", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, (words, ran.stderr)
    return json.loads(ran.stdout or "{}")


started = aws("start-execution", "--state-machine-arn", machine, "--name", "cli", "--input", '{"n": 3}')["executionArn"]
task = aws("get-activity-task", "--activity-arn", activity, "--cli-read-timeout", "75")
aws("send-task-success", "--task-token", task["taskToken"], "--task-output", '{"n": 4}')
assert json.loads(ended(started, "SUCCEEDED")["output"]) == {"n": 4}
assert len(aws("get-execution-history", "--execution-arn", started)["events"]) == 7
assert "cli" in [e["name"] for e in aws("list-executions", "--state-machine-arn", machine)["executions"]]
print("boto3", boto3.__version__, "and", cli, "are served")
