/* Runs requests against a SavedModel with TensorFlow's C API: no Python in the process.

   c_runtime MODEL OUTPUT REQUEST...   each REQUEST is four arguments:
     input tensor, output tensor (names from the signature), dimensions such as 1,64,64,3 or
     "bytes" for a string vector of one element, the input file.

   One line is printed for each request. OUTPUT gets the raw value of the last request that
   succeeds. Exit status: 0 all requests succeeded, 3 a request failed in TensorFlow (the ones after
   it were still run), 1 anything else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void die(const char *what) {
  fprintf(stderr, "c_runtime: %s\n", what);
  exit(1);
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) die(path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*size + 1);
  if (!data || fread(data, 1, *size, file) != *size) die(path);
  fclose(file);
  return data;
}

static TF_Tensor *tensor_from_file(const char *dimensions, const char *path) {
  size_t size;
  char *data = read_file(path, &size);
  TF_Tensor *tensor;
  if (strcmp(dimensions, "bytes") == 0) {
    int64_t one = 1;
    tensor = TF_AllocateTensor(TF_STRING, &one, 1, sizeof(TF_TString));
    TF_TString *string = TF_TensorData(tensor);
    TF_StringInit(string);
    TF_StringCopy(string, data, size);
  } else {
    int64_t dims[8];
    int rank = 0;
    for (const char *at = dimensions; *at && rank < 8; at += strspn(at, ","))
      dims[rank++] = strtoll(at, (char **)&at, 10);
    tensor = TF_AllocateTensor(TF_FLOAT, dims, rank, size);
    memcpy(TF_TensorData(tensor), data, size);
  }
  free(data);
  return tensor;
}

/* "name:0" in the graph. */
static TF_Output find(TF_Graph *graph, const char *name) {
  char operation[256];
  const char *colon = strrchr(name, ':');
  if (!colon || (size_t)(colon - name) >= sizeof operation) die(name);
  memcpy(operation, name, colon - name);
  operation[colon - name] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, operation), atoi(colon + 1)};
  if (!output.oper) die(name);
  return output;
}

static void write_value(const char *path, TF_Tensor *value) {
  FILE *file = fopen(path, "wb");
  if (!file) die(path);
  if (TF_TensorType(value) == TF_STRING) {
    TF_TString *string = TF_TensorData(value);
    fwrite(TF_StringGetDataPointer(string), 1, TF_StringGetSize(string), file);
  } else {
    fwrite(TF_TensorData(value), 1, TF_TensorByteSize(value), file);
  }
  if (fclose(file)) die(path);
}

int main(int argc, char **argv) {
  if (argc < 7 || (argc - 3) % 4) die("wrong arguments");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tag = "serve";
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], &tag, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) die(TF_Message(status));
  int result = 0;
  for (char **request = argv + 3; *request; request += 4) {
    TF_Output input = find(graph, request[0]), output = find(graph, request[1]);
    TF_Tensor *sent = tensor_from_file(request[2], request[3]), *received = NULL;
    TF_SessionRun(session, NULL, &input, &sent, 1, &output, &received, 1, NULL, 0, NULL, status);
    if (TF_GetCode(status) == TF_OK) {
      puts("ok");
      write_value(argv[2], received);
      TF_DeleteTensor(received);
    } else {
      printf("error %s\n", TF_Message(status));
      result = 3;
    }
    TF_DeleteTensor(sent);
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return result;
}
