"""How the images of a step, or of a test set, are divided: among devices, and into parts that follow each other."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """What one process sees: that of device `rank` out of `count`, in `parts` portions for every step of training."""

    parts: int = 1
    rank: int = 0
    count: int = 1

    def of_step(self, size: int) -> list[slice]:
        """This device's portions of a step of `size` images; of one portion, the devices' pieces lie side by side.

        So a portion over all devices holds the same images whatever the number of devices. Raises ValueError where
        `size` cannot be divided evenly: an average over devices would then weigh some images more than others.
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
        """This device's piece of `size` images: the devices' pieces, in order, are the whole."""
        return slice(size * self.rank // self.count, size * (self.rank + 1) // self.count)


WHOLE = Shard()  # one device that takes a step at once
