"""Names that the images' libraries import, if they are there or not. Made by scripts/library_names.py."""

LIBRARY_NAMES = frozenset(
    """
    Cython IPython Numeric OpenSSL PIL PyInstaller __main__ _cuda_bindings_redirector _distutils_hack
    _distutils_system_mod _dummy_thread _interpqueues _interpreters _manylinux _pytest _rocm_sdk_core _testbuffer
    _typeshed _xxsubinterpreters _yaml aesara aiohttp all amdsmi android annotationlib antlr4 anyio
    array_interface_testing authlib autocommand autolevparser backports blobfile brotli brotlicffi ccompiler_opt certifi
    cffi chardet charset_normalizer checks ck4inductor clang click cloudpickle code_generators colorama com compression
    coremltools cryptography cuda cupti cupy cutlass cutlass_api cutlass_cppgen cutlass_library cython dask deeplearning
    dill distributed dl docutils duckdb einops envwrap etcd exceptiongroup expecttest fastai fastapi fastparquet
    fbscribelogger filelock flash_attn flash_attn_interface flax flint foo fsspec functorch fuse gmpy gmpy2 google
    gradio h11 h2 halide hatchet helion hf_xet httpcore httpx huggingface_hub hypothesis idna importlib_metadata
    importlib_resources inflect ipywidgets isal isympy jaraco jax jinja2 jnius js keras kerchunk kernel_abi_check
    kernels lark lfortran libarchive libfb limited_api1 limited_api2 limited_api_latest llvmlite lxml lz4 lzmaffi
    markupsafe matchpy matplotlib mcp mem_policy ml_dtypes monkeytype more_itertools moviepy mpl_toolkits mpmath mtia
    multiset mypy networkx numarray numba numexpr numpy numpy_distutils nvMatmulHeuristics nvidia nvmath objgraph
    oneflow onnx onnx_ir onnxruntime onnxscript opt_einsum optree origami outcome packaging paddle pandas panel paramiko
    pip pkg_resources platformdirs psutil pulp pwlf py pyarrow pycosat pycute pydantic pydot pydy pyftpdlib pygit2
    pyglet pygments pygraphviz pyinstrument pylab pymc pymc3 pynvml pyodide pysat pytensor pytest pytest_mpl
    pytest_run_parallel pytest_subtests pytorch_lightning pyzes redis regex requests requests_kerberos rfe rich rocm_sdk
    safetensors sage scipy scipy_doctest setuptools simplejson slack_sdk smbclient smbprotocol snappy sniffio socks
    socksio spmd_types starlette symengine sympy tabulate tensorboard tensorboardX tensorflow theano threadpoolctl
    tiktoken tiktoken_ext tinygrad toml tomli tomlkit torch torch_npu torch_tpu torch_xla torcharrow torchaudio
    torchcomms torchdistx torchgen torchrec torchvision tqdm transformers trio triton trove_classifiers tvm tvm_ffi
    typing_extensions ujson urllib3 uvloop wheel win32api win32com win32pdh winloop wurlitzer xmlrunner yaml yarl z3
    zipp zstandard
    """.split()  # noqa: SIM905
)
