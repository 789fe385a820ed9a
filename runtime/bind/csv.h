/* csv.h - the two halves of the module garun.csv: csv.c reads, csv_writer.c writes and has the module. */
#ifndef GARUN_CSV_H
#define GARUN_CSV_H

#include <lua.h>

int l_csv_reader(lua_State *L);     /* csv.reader(source, opts) */
int l_csv_decode(lua_State *L);     /* csv.decode(text, opts) */

#endif
