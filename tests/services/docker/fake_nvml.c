/* A libnvidia-ml.so.1 for simulated GPUs: FAKE_GPUS is "uuid|name|major.minor|MiB in all|MiB free;…", FAKE_DRIVER its version,
   FAKE_BUSY the pid of a process on every GPU, FAKE_NVML_LOG a file that gets a line each time it is asked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory;
typedef struct { char uuid[96], name[96]; int major, minor; unsigned long long total, free; } gpu;

static gpu gpus[64];
static unsigned count;

int nvmlInitWithFlags(unsigned flags) {
    const char *given = getenv("FAKE_GPUS");
    const char *log = getenv("FAKE_NVML_LOG");
    char text[8192];
    count = 0;
    if (log != NULL) {
        FILE *file = fopen(log, "a");
        if (file == NULL) return 999;
        fputs("asked\n", file);
        fclose(file);
    }
    if (given == NULL || *given == 0) return 9; /* driver not loaded */
    snprintf(text, sizeof text, "%s", given);
    for (char *row = strtok(text, ";"); row && count < 64; row = strtok(NULL, ";"), count++)
        if (sscanf(row, "%95[^|]|%95[^|]|%d.%d|%llu|%llu", gpus[count].uuid, gpus[count].name, &gpus[count].major,
                   &gpus[count].minor, &gpus[count].total, &gpus[count].free) != 6) return 999;
    return 0;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Unknown Error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    const char *given = getenv("FAKE_DRIVER");
    snprintf(text, size, "%s", given ? given : "550.54.15");
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned *found) { *found = count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    if (index >= count) return 2;
    *handle = &gpus[index];
    return 0;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) { snprintf(text, size, "%s", ((gpu *)handle)->uuid); return 0; }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { snprintf(text, size, "%s", ((gpu *)handle)->name); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = ((gpu *)handle)->major;
    *minor = ((gpu *)handle)->minor;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory *found) {
    gpu *one = handle;
    found->total = one->total << 20;
    found->free = one->free << 20;
    found->used = found->total - found->free;
    return 0;
}

typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute_instance; } process;

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *room, process *found) {
    const char *given = getenv("FAKE_BUSY");
    unsigned given_room = *room;
    (void)handle;
    *room = given ? 1 : 0;
    if (given == NULL) return 0;
    if (given_room < 1) return 7; /* insufficient size */
    memset(found, 0, sizeof *found);
    found->pid = (unsigned)atoi(given);
    return 0;
}
