"""The rival of xlsx_bench.lua: openpyxl, streaming (read_only, write_only).

rival_openpyxl.py read FILE | write FILE ROWS - prints cells or rows, seconds and the peak of its memory in KiB.
"""
import re
import sys
import time

import openpyxl


def read(path):
    book = openpyxl.load_workbook(path, read_only=True)
    cells = 0
    for row in book.worksheets[0].iter_rows(values_only=True):
        cells += len(row)
    book.close()
    return cells


def write(path, rows):
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Users")
    sheet.append(["USER_ID", "CUSTOMER_NAME", "EMAIL", "CELL_PHONE", "VALUE"])
    for i in range(1, rows + 1):
        sheet.append([f"{i:08d}", f"Customer {i % 5000} GmbH", f"user{i}@example.com", f"+49170{i:07d}", i * 0.25])
    book.save(path)
    return rows


start = time.perf_counter()
done = read(sys.argv[2]) if sys.argv[1] == "read" else write(sys.argv[2], int(sys.argv[3]))
seconds = time.perf_counter() - start
with open("/proc/self/status", encoding="ascii") as status:
    peak = re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)
print(done, seconds, peak)
