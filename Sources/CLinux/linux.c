#include "CLinux.h"
int sluice_nothing(void) { return 0; }
