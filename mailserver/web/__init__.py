"""The pages of `listen.http` and `listen.https`, for operators and their programs: who may see them, and how they are served."""
