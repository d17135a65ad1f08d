#include "ledger/sealer.h"
void WorkerInit(void) {}
void WorkerTaskRegister(int (*task) (void), bool (*pending) (Oid database)) {}
void WorkerCheck(void) {}
