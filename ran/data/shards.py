"""Shards: the division of a step or a test set among devices, and of a step into parts (gradient accumulation)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The images of device `rank` of `count`; every training step is divided into `parts` (gradient accumulation)."""

    parts: int = 1
    rank: int = 0
    count: int = 1

    def of_step(self, size: int) -> list[slice]:
        """This device's slice of each part of a step of `size` images. Within a part, the devices' slices are adjacent.

        So a part holds the same images for any number of devices. Raises ValueError where `size` is not divisible by
        parts × devices: an average over devices would then weight some images more than others.
        """
        piece, rest = divmod(size, self.parts * self.count)
        if rest or not piece:
            raise ValueError(
                f"a step of {size} images cannot be divided evenly into {self.parts} parts on {self.count} devices: "
                "choose another number of parts (accumulate) or devices, or a schedule of another batch size."
            )
        starts = [(part * self.count + self.rank) * piece for part in range(self.parts)]
        return [slice(start, start + piece) for start in starts]

    def of_whole(self, size: int) -> slice:
        """This device's slice of a set of `size` images; the slices of all devices, in order, make up the set."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)


WHOLE = Shard()  # a single device, without gradient accumulation
