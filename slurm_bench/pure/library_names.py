"""Names that the images' libraries import, if they are there or not. Made by scripts/library_names.py."""

LIBRARY_NAMES = frozenset(
    """
    Cython IPython Numeric PIL PyInstaller __main__ _distutils_hack _distutils_system_mod _dummy_thread _manylinux
    _pytest _rocm_sdk_core _testbuffer _typeshed _xxsubinterpreters aesara aiohttp all amdsmi android annotationlib
    antlr4 array_interface_testing autocommand autolevparser backports ccompiler_opt cffi charset_normalizer checks
    ck4inductor clang cloudpickle code_generators colorama com compression coremltools cuda cupti cupy cutlass
    cutlass_api cutlass_cppgen cutlass_library cython dask deeplearning dill distributed dl docutils einops etcd
    expecttest fastparquet fbscribelogger filelock flash_attn flint foo fsspec functorch fuse gmpy gmpy2 google halide
    hatchet helion hypothesis importlib_metadata importlib_resources inflect isal jaraco jax jinja2 jnius js kerchunk
    lark lfortran libarchive libfb limited_api1 limited_api2 limited_api_latest llvmlite lxml lz4 lzmaffi markupsafe
    matchpy matplotlib mem_policy ml_dtypes monkeytype more_itertools moviepy mpl_toolkits mpmath mtia multiset mypy
    networkx numarray numba numexpr numpy numpy_distutils nvMatmulHeuristics nvmath objgraph onnx onnx_ir onnxruntime
    onnxscript opt_einsum optree origami packaging pandas panel paramiko platformdirs psutil pulp pwlf py pyarrow
    pycosat pycute pydot pydy pyftpdlib pygit2 pyglet pygraphviz pyinstrument pylab pymc pymc3 pynvml pysat pytest
    pytest_mpl pytest_run_parallel pytest_subtests pytorch_lightning pyzes redis requests requests_kerberos rfe rich
    rocm_sdk safetensors sage scipy scipy_doctest setuptools smbclient smbprotocol snappy spmd_types symengine sympy
    tabulate tensorboard tensorflow theano threadpoolctl tomli torch torch_xla torcharrow torchaudio torchcomms
    torchdistx torchgen torchrec torchvision tqdm transformers triton trove_classifiers tvm tvm_ffi typing_extensions
    ujson urllib3 wheel win32api win32com win32pdh wurlitzer xmlrunner yaml yarl z3 zipp zstandard
    """.split()  # noqa: SIM905
)
