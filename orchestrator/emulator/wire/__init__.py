"""The emulator's HTTP side: Kaggle's API, the storage behind signed URLs, uploads and live logs.

`server` has the addresses. A method of the API is a handler in the module of its service (`kernels`,
`datasets`, `models`, `uploads`, `security`): it reads the request, calls `service`, and fills in the SDK's
response. `rpc` is what the handlers have in common.
"""
