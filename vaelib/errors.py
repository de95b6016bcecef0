"""The errors a reader can mend. The command line prints their message alone, without a traceback."""


class VaelibError(Exception):
    """What was wrong, where, and what to do about it, in one line."""


class DataError(VaelibError):
    """A data file is missing, damaged, or could not be fetched."""


class CheckpointError(VaelibError):
    """A checkpoint is missing, foreign, damaged, or does not fit what was asked of it."""


class TrainingError(VaelibError):
    """Training was asked for something impossible, or its objective stopped being a number."""


class DeviceError(VaelibError):
    """The device is unknown, or this machine does not have it."""


class SettingsError(VaelibError):
    """A setting is unknown, or contradicts another one."""
