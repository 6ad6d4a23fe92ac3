"""Small pictures of how what a legend names looks, as cells of a table in Graphviz's labels."""

from __future__ import annotations

from tensorgraph.pages.palette import HEATS, Palette

__all__ = ["font", "swatch"]

BODY = 9  # points


def font(text: str, colour: str, size: int) -> str:
    """Escaped text in a colour."""
    return f'<font color="{colour}" point-size="{size}">{text}</font>'


def swatch(c: Palette, role: str) -> str:
    """A cell with a small picture of how a role looks."""

    def cell(width: int, height: int, look: str, inner: str = "") -> str:
        # a table of fixed size within the cell, for a cell is stretched to its row and column
        return (
            f'<td><table fixedsize="true" width="{width}" height="{height}" '
            f'cellborder="0" cellspacing="0" cellpadding="0" {look}><tr><td fixedsize="true" '
            f'width="{width - 2}" height="{height - 2}">{inner}</td></tr></table></td>'
        )

    match role:
        case "input":
            return cell(16, 10, f'border="2" style="rounded" color="{c.io}" bgcolor="{c.box}"')
        case "module" | "ops" | "summary":
            colour = c.op if role == "ops" else c.module
            inner = (
                f'<table border="1" cellborder="0" cellspacing="0" cellpadding="0" fixedsize="true" width="12" '
                f'height="6" color="{colour}" style="rounded" bgcolor="{c.box}"><tr><td></td></tr></table>'
            )
            return cell(18, 12, f'border="1" style="rounded" color="{colour}" bgcolor="{c.box}"', inner)
        case "kernels":
            inner = (
                f'<table border="1" cellborder="0" cellspacing="0" cellpadding="0" fixedsize="true" width="12" '
                f'height="6" color="{c.module}" bgcolor="{c.box}"><tr><td></td></tr></table>'
            )
            return cell(18, 12, f'border="1" color="{c.module}" bgcolor="{c.box}"', inner)
        case "kernel":
            return cell(16, 10, f'border="1" color="{c.module}" bgcolor="{c.box}"')
        case "entry":
            return cell(10, 8, f'border="1" style="rounded" color="{c.op}" bgcolor="{c.box}"')
        case "gradient":
            return cell(16, 10, f'border="1" style="rounded,dashed" color="{c.grad}" bgcolor="{c.box}"')
        case "moved":
            return cell(16, 10, f'border="1" style="rounded" color="{c.frame}" bgcolor="{c.box}"')
        case "added" | "removed" | "changed" | "fault":
            colour, width, line = {
                "added": (c.io, 3, ""), "removed": (c.alarm, 1, ",dashed"), "changed": (c.param, 2, ""),
                "fault": (c.alarm, 3, ""),
            }[role]  # fmt: skip
            return cell(16, 10, f'border="{width}" style="rounded{line}" color="{colour}" bgcolor="{c.box}"')
        case "heat":
            steps = "".join(
                f'<td fixedsize="true" width="6" height="10" bgcolor="{getattr(c, f"heat{k}")}"></td>'
                for k in range(HEATS)
            )
            table = '<table border="1" cellborder="0" cellspacing="0" cellpadding="0"'
            return f'<td>{table} color="{c.op}"><tr>{steps}</tr></table></td>'
        case "missing":
            return cell(16, 10, f'border="1" style="rounded" color="{c.frame}" bgcolor="{c.box}"')
        case "parameter":
            return cell(6, 6, f'border="0" bgcolor="{c.param}"')
        case "buffer":
            return cell(6, 6, f'border="1" color="{c.param}" bgcolor="{c.box}"')
        case "write":
            return f"<td><b>{font('&gt;', c.ink, BODY)}</b></td>"
        case "update":
            return cell(16, 10, f'border="1" style="rounded" color="{c.param}" bgcolor="{c.box}"')
        case "residual":
            return cell(16, 3, f'border="0" bgcolor="{c.op}"')
        case "saved" | "carried":
            return f"<td>{font('.....' if role == 'saved' else '- - -', c.op, BODY)}</td>"
        case "warning" | "stub" | "stop":
            return "<td></td>"
        case _:
            return cell(16, 10, f'border="1" style="rounded" color="{c.op}" bgcolor="{c.box}"')
