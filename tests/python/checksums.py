"""What replicas and owners of tablets hold, as they tell it."""

import grpc


def field(number, value):
    """A field of a protobuf message: a number, or bytes."""
    def varint(number):
        out = bytearray()
        while number >= 0x80:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
        return bytes(out)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def numbers(message):
    """The number fields of a protobuf message that has no others."""
    values, at = {}, 0

    def varint(at):
        value, shift = 0, 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at
    while at < len(message):
        key, at = varint(at)
        values[key >> 3], at = varint(at)
    return values


def checksum(address, tablet, version):
    """Rows of a replica at a version, and the sum of their hashes."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/tarn.v1.StorageService/GetChecksum")
        found = numbers(call(field(1, field(1, tablet) + field(2, version)), timeout=30))
    return found.get(1, 0), found.get(2, 0)


def replicas(cluster, table):
    return cluster.table(f"admin show replica status from {table}")


def checksums(cluster, *tables):
    """The checksum of each replica of tables, by tablet, visible version and address. Nothing is being loaded."""
    found = {}
    for table in tables:
        for row in replicas(cluster, table):
            key = int(row["TabletId"]), int(row["Version"])
            found.setdefault(key, {})[row["Address"]] = checksum(row["Address"], *key)
    return found
