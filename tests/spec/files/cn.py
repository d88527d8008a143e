def f(config):
    return {"y": config["b"]}
