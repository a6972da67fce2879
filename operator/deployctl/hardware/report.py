"""What `nvidia-smi` wrote into a file: `-q -x` (XML) or `--query-gpu=… --format=csv`. Pure: text
in, cards out."""

import re
from dataclasses import replace
from xml.etree import ElementTree

from deployctl.errors import ProfileError
from deployctl.hardware.nvidia import Card, Part, read_cards, read_failure

LARGEST = 20_000_000  # characters; eight cards with all their clocks are one million
_HINT = "nvidia-smi -q -x > cards.xml makes one that is read"


def read_report(text: str, where: str) -> tuple[Card, ...]:
    """Returns the cards of a recorded output.

    Raises:
        ProfileError: it is neither format, holds no card or no card's name; `where` names it.
    """
    text = text.strip().removeprefix("\ufeff")
    if len(text) > LARGEST:
        raise ProfileError("that is no output of nvidia-smi: it is too long", where=where)
    cards = _of_xml(text, where) if text.startswith("<") else read_cards(text)
    named = tuple(card for card in cards if card.name)
    if named:
        return named
    if read_failure(text, 0):
        raise ProfileError(
            f"nvidia-smi found no card: {text.splitlines()[0]}", where=where, hint=_HINT
        )
    if cards:
        raise ProfileError("the output does not say what the cards are", where=where, hint=_HINT)
    raise ProfileError(
        "neither XML nor CSV with a header, as nvidia-smi writes them", where=where, hint=_HINT
    )


def _of_xml(text: str, where: str) -> tuple[Card, ...]:
    try:
        if "<!ENTITY" in text:  # which could grow without end, and nvidia-smi writes none
            raise ElementTree.ParseError("it declares entities")
        root = ElementTree.fromstring(text)  # noqa: S314  no entities, see above
    except ElementTree.ParseError as error:
        raise ProfileError(f"broken XML: {error}", where=where, hint=_HINT) from error
    driver = root.findtext("driver_version")
    gpus = enumerate(root.iter("gpu"))
    return tuple(replace(_card(gpu), index=index, driver=driver) for index, gpu in gpus)


def _card(gpu: ElementTree.Element) -> Card:
    memory, pcie = "fb_memory_usage/", "pci/pci_gpu_link_info/"
    mig = (gpu.findtext("mig_mode/current_mig") or "").strip()
    return Card(
        name=(gpu.findtext("product_name") or "").strip() or None,
        uuid=gpu.findtext("uuid"),
        memory_total_mib=_number(gpu, memory + "total"),
        memory_reserved_mib=_number(gpu, memory + "reserved"),
        memory_used_mib=_number(gpu, memory + "used"),
        memory_free_mib=_number(gpu, memory + "free"),
        mig={"Enabled": True, "Disabled": False}.get(mig),
        architecture=(gpu.findtext("product_architecture") or "").strip() or None,
        memory_clock_mhz=_number(gpu, "max_clocks/mem_clock"),
        pcie_generation=_number(gpu, pcie + "pcie_gen/max_device_link_gen")
        or _number(gpu, pcie + "pcie_gen/max_link_gen"),
        pcie_lanes=_number(gpu, pcie + "link_widths/max_link_width"),
        parts=tuple(_part(device) for device in gpu.iter("mig_device")),
    )


def _part(device: ElementTree.Element) -> Part:
    return Part(
        memory_mib=_number(device, "fb_memory_usage/total"),
        multiprocessors=_number(device, "device_attributes/shared/multiprocessor_count"),
    )


def _number(element: ElementTree.Element, path: str) -> int | None:
    """`24564 MiB`, `8001 MHz`, `16x` or `4`; None for `N/A` and what is not there."""
    text = (element.findtext(path) or "").strip()
    match = re.fullmatch(r"(\d{1,15})(\.\d+)?( ?[A-Za-z]+)?", text)
    return int(match[1]) if match else None
