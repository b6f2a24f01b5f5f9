/* "name 17": what a line is about, with a number behind it. */
#pragma once

const char *numbered(const char *name, long number);    /* until the next one */
