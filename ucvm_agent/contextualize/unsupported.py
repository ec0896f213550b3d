"""Keys that other contextualization agents know and this one does not, so that nobody takes them for misspelt.

The names come from cloud-init's modules and from amiconfig's plugins (references/amiconfig.md, sections 6 to 8).
A key that some contextualizer reads, first-party or not, is never looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ucvm_agent.settings import CONTEXT_TABLES, Settings

_PACKAGES = "install what you need in runcmd, or use it from CVMFS"
_MOUNTS = "mount it in bootcmd or runcmd"
_IMAGE = "this is part of the image"
_SITE = "only agent.toml can set what decides how user-data are found and used"

CLOUD_CONFIG: Mapping[str, str] = MappingProxyType(
    {
        "ansible": "run ansible-pull in runcmd",
        "apk_repos": _PACKAGES,
        "apt": _PACKAGES,
        "apt_pipelining": _PACKAGES,
        "apt_preserve_sources_list": _PACKAGES,
        "apt_update": _PACKAGES,
        "apt_upgrade": _PACKAGES,
        "autoinstall": _IMAGE,
        "byobu_by_default": "",
        "chef": "run chef-client in runcmd",
        "cloud_config_modules": "contextualizers order themselves",
        "cloud_final_modules": "contextualizers order themselves",
        "cloud_init_modules": "contextualizers order themselves",
        "datasource": "sources are set in agent.toml",
        "datasource_list": "sources are set in agent.toml",
        "debug": "",
        "device_aliases": _MOUNTS,
        "disable_ec2_metadata": "",
        "disable_root_opts": "root gets no key at all with disable_root: true",
        "disk_setup": _MOUNTS,
        "drivers": _PACKAGES,
        "fan": "",
        "final_message": "controllers are told when the VM is ready",
        "fs_setup": _MOUNTS,
        "growpart": "the scratch disk is grown at boot",
        "grub_dpkg": _IMAGE,
        "keyboard": "write [cernvm] keyboard=",
        "landscape": "",
        "launch-index": "",
        "locale_configfile": "",
        "lxd": "",
        "manage_resolv_conf": "write the file with write_files",
        "mcollective": "",
        "merge_how": "",
        "merge_type": "",
        "migrate": "",
        "mount_default_fields": _MOUNTS,
        "mounts": _MOUNTS,
        "network": "the network is set up before this agent runs",
        "no_ssh_fingerprints": "",
        "ntp": "write the configuration of your time service with write_files",
        "output": "the output of scripts is in the journal",
        "package_reboot_if_required": _PACKAGES,
        "package_update": _PACKAGES,
        "package_upgrade": _PACKAGES,
        "packages": _PACKAGES,
        "phone_home": "set [http] in agent.toml: the controller is told of every event",
        "power_state": "run shutdown in runcmd",
        "puppet": "write puppet.conf with write_files and start it in runcmd",
        "random_seed": "",
        "reporting": "set [http] or [xmpp] in agent.toml",
        "resize_rootfs": "the scratch disk is grown at boot",
        "resolv_conf": "write the file with write_files",
        "rh_subscription": _PACKAGES,
        "rpi": "",
        "rsyslog": "write the configuration with write_files",
        "salt_minion": "write its configuration with write_files and start it in runcmd",
        "snap": _PACKAGES,
        "spacewalk": _PACKAGES,
        "ssh": "",
        "ssh_fp_console_blacklist": "",
        "ssh_import_id": "write the keys into ssh_authorized_keys",
        "ssh_key_console_blacklist": "",
        "ssh_publish_hostkeys": "",
        "swap": "make it in bootcmd",
        "system_info": _IMAGE,
        "ubuntu_advantage": "",
        "ubuntu_autoinstall": _IMAGE,
        "ubuntu_pro": "",
        "unverified_modules": "",
        "updates": "",
        "vendor_data": "",
        "vendor_data2": "",
        "wireguard": "write its configuration with write_files and start it in runcmd",
        "yum_repo_dir": _PACKAGES,
        "yum_repos": _PACKAGES,
        "zypper": _PACKAGES,
    }
)
"""Top-level keys of cloud-config, each with what to do instead."""

AMICONFIG: Mapping[str, str] = MappingProxyType(
    {
        "amildap": "",
        "appliance-agent": "",
        "condor": "",
        "conaryproxy": "",
        "dnsupdate": "",
        "elastiq-setup": "",
        "ganglia": "",
        "kernelmodules": "",
        "noip": "",
        "nss": "",
        "openvpn": "",
        "puppet": "",
        "rapadminpassword": "",
        "rapcert": "",
        "raprsakey": "",
        "rmakenode": "",
        "rmakeplugin": "",
        "rmakeserver": "",
        "rpathplugin": "",
        "sfcb-client-setup": "",
        "squid": "",
        "storage": "",
        "tcpbuffers": "",
        "vaf-setup": "",
        "workqueue": "",
        "hepix": "site scripts of the disk are not run",
        "yp": "NIS is gone from today's systems",
    }
)
"""Plugins of amiconfig, which are also the names of their sections, each with what to do instead."""

CERNVM: Mapping[str, str] = MappingProxyType(
    {
        "config_url": "nothing is fetched; the original ignored it as well",
        "eos-readaheadsize": "",
        "eos-readcachesize": "",
        "eos-server": "EOS is mounted by eosxd; write its configuration with write_files",
        "eos-user": "",
        "eos-x509-cert": "write the proxy with write_files",
        "griduiversion": "",
        "group_profile": "the original did nothing with it",
        "swap_size": "make swap space in bootcmd",
        "x509-cert": "write the proxy with write_files",
        "x509-cert-file": "write the proxy with write_files",
        "x509-user": "",
    }
)
"""Options of the plugin cernvm, each with what to do instead."""


COPILOT: Mapping[str, str] = MappingProxyType(
    {
        "agent_logger_config_file": "set [log] in agent.toml",
        "agent_secure_mode": "controllers of ours sign what they say",
        "hb_chat_room": "controllers see the machine's presence",
        "hb_chat_server": "controllers see the machine's presence",
        "km_jabber_address": "controllers of ours sign what they say",
        "mon_jabber_address": "whoever is to be told of every event stands in ucvm_agent.xmpp.controllers",
        "public_keys_file": "controllers of ours sign what they say",
        "sm_jabber_address": "the manager that gave a job is asked where its output goes",
    }
)
"""Settings of the original agent (references/copilot-protocol.md, section 4.5), each with what to do instead."""


def without_effect(key: str) -> str | None:
    """Return what to do instead of a key (as people write it), or None if nobody knows it."""
    if key.startswith("[cernvm] "):
        return CERNVM.get(key.removeprefix("[cernvm] "))
    if key.startswith("[copilot] "):
        return COPILOT.get(key.removeprefix("[copilot] "))
    if key.startswith(("ucvm_agent.", "[ucvm-agent] ")):
        table = key.removeprefix("ucvm_agent.").removeprefix("[ucvm-agent] ").partition(".")[0]
        return _SITE if table in Settings.model_fields and table not in CONTEXT_TABLES else None
    if key.startswith("["):
        return AMICONFIG.get(key[1:].partition("]")[0])
    return CLOUD_CONFIG.get(key.partition(".")[0])
