"""Eclipse Paho: publishes with QoS 1 or 2 what it has subscribed to itself."""

import sys
import threading
import time

import paho.mqtt.client as mqtt

port, every = int(sys.argv[1]), int(sys.argv[2]) / 1000
protocol, qos = sys.argv[3], int(sys.argv[4])
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id="numbers",
    transport="websockets",
    protocol=mqtt.MQTTv5 if protocol == "5" else mqtt.MQTTv311,
    **({} if protocol == "5" else {"clean_session": True}),
)
client.ws_set_options(path="/mqtt")
said = threading.Lock()


def say(text: str) -> None:
    with said:
        print(text, flush=True)


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        say(f"error {reason}")
        return
    say("open")
    client.subscribe("numbers", qos=qos)


client.on_connect = on_connect
client.on_subscribe = lambda *_: subscribed.set()
client.on_message = lambda client, userdata, message: say(f"got {int(message.payload)}")
subscribed = threading.Event()
client.connect("127.0.0.1", port)
client.loop_start()
subscribed.wait()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
number = 0
while not ended.is_set():
    number += 1
    say(f"sent {number}")
    client.publish("numbers", str(number), qos=qos)
    time.sleep(every)
threading.Event().wait()
