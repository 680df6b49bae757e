"""Writes the files beside this one as torch.save would, without PyTorch: CPython's own pickler and zipfile, and stand-ins for torch's classes.

    python3 make.py

After torch/serialization.py: a storage is a persistent id, a tensor is rebuilt from it, a zip has the pickle and one entry per storage, and a
legacy file is a row of pickles (magic number, version, system, object, keys of the storages) and the storages. Every tensor holds 0, 1, 2, ...
in the order of its storage, from its offset on.
"""
import collections
import io
import pickle
import struct
import sys
import types
import zipfile


def module(name):
    made = types.ModuleType(name)
    sys.modules[name] = made
    return made


def function(owner, name):
    def made(*arguments):
        raise NotImplementedError
    made.__module__, made.__name__, made.__qualname__ = owner.__name__, name, name
    setattr(owner, name, made)
    return made


def named_class(owner, name):
    made = type(name, (), {"__module__": owner.__name__})
    setattr(owner, name, made)
    return made


torch, utils = module("torch"), module("torch._utils")
torch._utils = utils
rebuild_tensor, rebuild_parameter = function(utils, "_rebuild_tensor_v2"), function(utils, "_rebuild_parameter")
ModelCheckpoint = named_class(module("pytorch_lightning.callbacks.model_checkpoint"), "ModelCheckpoint")
multiarray, numpy = module("numpy.core.multiarray"), module("numpy")
numpy_scalar, numpy_dtype = function(multiarray, "scalar"), function(numpy, "dtype")
for part in ("pytorch_lightning", "pytorch_lightning.callbacks", "numpy.core"):
    module(part)


def bfloat16(values):
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def packed(letter):
    return lambda values: struct.pack(f"<{len(values)}{letter}", *values)


TYPES = {name: (named_class(torch, name + "Storage"), pack) for name, pack in dict(
    Double=packed("d"), Float=packed("f"), Half=packed("e"), BFloat16=bfloat16, Long=packed("q"), Int=packed("i"), Byte=packed("B"),
    Bool=lambda values: bytes(value % 2 for value in values)).items()}


class Storage:
    def __init__(self, type_name, count):
        self.type, pack = TYPES[type_name]
        self.count, self.bytes = count, pack(range(count))


class Tensor:
    def __init__(self, storage, shape, strides=None, offset=0):
        if strides is None:
            strides, step = [], 1
            for size in reversed(shape):
                strides.insert(0, step)
                step *= max(size, 1)
        self.parts = (storage, offset, tuple(shape), tuple(strides), False, collections.OrderedDict())

    def __reduce_ex__(self, protocol):
        return rebuild_tensor, self.parts


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        return rebuild_parameter, (self.tensor, True, collections.OrderedDict())


class Scalar:
    """numpy.float64(1.5), as numpy pickles it."""

    def __reduce_ex__(self, protocol):
        return numpy_scalar, (Dtype(), struct.pack("<d", 1.5))


class Dtype:
    def __reduce_ex__(self, protocol):
        return numpy_dtype, ("f8", False, True), (3, "<", None, None, None, -1, -1, 0)


class Evil:
    def __reduce_ex__(self, protocol):
        import os
        return os.system, ("true",)


def pickled(value, storages, protocol, legacy):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, Storage):
                return None
            key = storages.setdefault(obj, str(94000000 + len(storages) if legacy else len(storages)))
            return ("storage", obj.type, key, "cpu", obj.count) + ((None,) if legacy else ())

    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def save_zip(name, value, protocol=2):
    storages = {}
    entries = {"data.pkl": pickled(value, storages, protocol, False), "byteorder": b"little"}
    entries |= {f"data/{key}": storage.bytes for storage, key in storages.items()}
    entries |= {"version": b"3\n", ".data/serialization_id": b"0" * 40}
    with zipfile.ZipFile(name, "w", zipfile.ZIP_STORED) as file:
        for entry, data in entries.items():
            info = zipfile.ZipInfo("archive/" + entry)
            padding = -(file.fp.tell() + 30 + len(info.filename) + 4) % 64
            info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            file.writestr(info, data)


def save_legacy(name, value, protocol=2):
    storages = {}
    main = pickled(value, storages, protocol, True)
    with open(name, "wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol)
        pickle.dump(1001, file, protocol)
        pickle.dump(dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4)), file, protocol)
        file.write(main)
        by_key = {key: storage for storage, key in storages.items()}
        pickle.dump(sorted(by_key), file, protocol)
        for key in sorted(by_key):
            file.write(struct.pack("<q", by_key[key].count) + by_key[key].bytes)


def state_dict():
    shared = Storage("Float", 12)
    tensors = collections.OrderedDict((name.lower(), Tensor(Storage(name, 6), [2, 3])) for name in TYPES)
    tensors["parameter"] = Parameter(Tensor(Storage("Half", 4), [4, 1, 1]))
    tensors["transposed"] = Tensor(shared, [3, 2], [1, 3])
    tensors["offset"] = Tensor(shared, [2, 3], [3, 1], 6)
    tensors["stepped"] = Tensor(shared, [3], [4], 1)
    tensors["scalar"] = Tensor(Storage("Long", 1), [])
    tensors["empty"] = Tensor(Storage("Float", 0), [0, 3])
    tensors._metadata = collections.OrderedDict({"": dict(version=1)})
    return tensors


def checkpoint():
    moments = Tensor(Storage("Float", 6), [2, 3])
    return dict(
        epoch=3, global_step=2**40, state_dict={"weight": Tensor(Storage("Float", 6), [2, 3]), "step": 7, "note": "caf\u00e9", "none": None},
        callbacks={ModelCheckpoint: dict(monitor="loss", best_model_score=moments, current_score=Scalar())},
        optimizer_states=[dict(state={0: dict(step=-1, exp_avg=moments)}, param_groups=[dict(lr=1e-4, betas=(0.9, 0.999), params=[0, 300, 70000])])],
        lr_schedulers=[], names={"a"}, flags=[True, False, -(2**40)], data=b"\x00\xff")


save_zip("zip.pt", state_dict())
save_zip("zip_protocol4.pt", state_dict(), 4)
save_legacy("legacy.pt", state_dict())
save_zip("checkpoint.ckpt", checkpoint())
save_zip("checkpoint_protocol4.ckpt", checkpoint(), 4)
save_zip("evil.pt", collections.OrderedDict(weight=Tensor(Storage("Float", 6), [2, 3]), other=Evil()))
